// The heat map attack x defence and the scatter of ACC and ASR, of the rows that are shown.
"use strict";
(function (board) {
  const tints = ["#0072B2", "#E69F00", "#56B4E9", "#CC79A7", "#009E73", "#D55E00", "#767676"];
  const shapes = ["circle", "square", "triangle", "diamond"];
  const glyphs = { circle: "●", square: "■", triangle: "▲", diamond: "◆" };
  const order = Object.keys(window.BOARD_DATA.titles.defense);
  const look = (defense) => {
    const place = Math.max(order.indexOf(defense) - 1, -1);
    if (place < 0) return { tint: "#333333", shape: "diamond" };
    return { tint: tints[place % tints.length], shape: shapes[Math.floor(place / tints.length) % shapes.length] };
  };
  const add = (parent, kind, text, attributes) => {
    const made = document.createElement(kind);
    if (text !== undefined) made.textContent = text;
    for (const [name, value] of Object.entries(attributes || {})) made.setAttribute(name, value);
    return parent.appendChild(made);
  };

  board.drawHeatMap = function (place, rows, name) {
    const scored = rows.filter((row) => row[name] !== null), sums = new Map();
    for (const row of scored) {
      const key = `${row.defense}|${row.attack}`, known = sums.get(key) || [0, 0];
      sums.set(key, [known[0] + row[name], known[1] + 1]);
    }
    const attacks = board.choices(scored, "attack"), defenses = board.choices(scored, "defense");
    const table = document.createElement("table");
    add(table, "caption", `Mean ${board.scores[name]} of the rows shown, in per cent; small: how many rows`);
    const head = add(add(table, "thead"), "tr");
    add(head, "th", "defence", { scope: "col" });
    for (const attack of attacks) add(head, "th", board.title("attack", attack), { scope: "col" });
    const body = add(table, "tbody"), tint = name === "asr" ? "213, 94, 0" : "0, 114, 178";
    for (const defense of defenses) {
      const line = add(body, "tr");
      add(line, "th", board.title("defense", defense), { scope: "row" });
      for (const attack of attacks) {
        const [sum, count] = sums.get(`${defense}|${attack}`) || [0, 0], cell = add(line, "td");
        if (!count) continue;
        cell.textContent = (sum / count).toFixed(0);
        cell.style.backgroundColor = `rgba(${tint}, ${(0.65 * sum / count / 100).toFixed(3)})`;
        add(cell, "small", ` ${count}`);
      }
    }
    place.replaceChildren(table);
  };

  function mark(pen, shape, x, y, size) {
    pen.beginPath();
    if (shape === "circle") pen.arc(x, y, size, 0, 7);
    else if (shape === "square") pen.rect(x - size, y - size, 2 * size, 2 * size);
    else {
      const low = shape === "triangle" ? [[x + size, y + size], [x - size, y + size]] : [[x + size, y], [x, y + size], [x - size, y]];
      pen.moveTo(x, y - 1.2 * size);
      for (const [a, b] of low) pen.lineTo(a, b);
      pen.closePath();
    }
    pen.fill();
  }

  function axes(pen, box, ink) {
    pen.strokeStyle = pen.fillStyle = ink;
    pen.font = "12px sans-serif";
    for (let tick = 0; tick <= 100; tick += 20) {
      pen.globalAlpha = 0.2;
      pen.strokeRect(box.x(tick), box.y(100), 0, box.y(0) - box.y(100));
      pen.strokeRect(box.x(0), box.y(tick), box.x(100) - box.x(0), 0);
      pen.globalAlpha = 1;
      pen.textAlign = "center";
      pen.fillText(tick, box.x(tick), box.y(0) + 16);
      pen.textAlign = "right";
      pen.fillText(tick, box.x(0) - 6, box.y(tick) + 4);
    }
    pen.textAlign = "center";
    pen.fillText("clean accuracy (%)", (box.x(0) + box.x(100)) / 2, box.y(0) + 34);
    pen.save();
    pen.translate(14, (box.y(0) + box.y(100)) / 2);
    pen.rotate(-Math.PI / 2);
    pen.fillText("attack success rate (%)", 0, 0);
    pen.restore();
  }

  board.drawScatter = function (canvas, legend, rows) {
    const scale = window.devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
    canvas.width = width * scale;
    canvas.height = height * scale;
    const pen = canvas.getContext("2d"), ink = getComputedStyle(canvas).color;
    pen.scale(scale, scale);
    const box = { x: (acc) => 46 + (acc / 100) * (width - 60), y: (asr) => height - 42 - (asr / 100) * (height - 54) };
    axes(pen, box, ink);
    const points = rows.filter((row) => row.asr !== null);
    pen.globalAlpha = points.length > 600 ? 0.45 : 0.8;
    board.points = points.map((row) => {
      const { tint, shape } = look(row.defense), x = box.x(row.acc), y = box.y(row.asr);
      pen.fillStyle = row.defense === "none" ? ink : tint;
      mark(pen, shape, x, y, 3.5);
      return { x, y, row };
    });
    const present = board.choices(points, "defense");
    const entry = (defense) => {
      const item = document.createElement("li"), { tint, shape } = look(defense);
      add(item, "span", glyphs[shape], { style: defense === "none" ? "" : `color: ${tint}`, "aria-hidden": "true" });
      item.append(` ${board.title("defense", defense)}`);
      return item;
    };
    legend.replaceChildren(...present.map(entry));
    const below = points.filter((row) => row.asr < 10).length;
    canvas.setAttribute("aria-label", `Scatter of clean accuracy and attack success rate: ${points.length} rows, ` +
      `${below} of them with an attack success rate below 10 per cent. The table above has the numbers.`);
  };

  // The row nearest to a place on the canvas, if it is near.
  board.pointAt = function (x, y) {
    let best = null, least = 144;
    for (const point of board.points || []) {
      const far = (point.x - x) ** 2 + (point.y - y) ** 2;
      if (far < least) [best, least] = [point.row, far];
    }
    return best;
  };
})(window.Board);
