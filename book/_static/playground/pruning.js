/* Prune the victim: its filters go in the order of RNP's masks, and the page counts what is left. */
(() => {
  "use strict";
  const { create, slider, decodeImages, announcer, latest, percent, argmax, Networks } = globalThis.bdlibPlayground;
  const PER_CLASS = 6; // images in each count
  const [WIDTH, HEIGHT, MARGIN] = [360, 190, 40];

  /* ACC and ASR over the number of pruned filters: the recorded course as lines, the page's own counts as dots. */
  function curves(course, chosen) {
    const last = course.pruned.length - 1;
    const x = (i) => MARGIN + (i / last) * (WIDTH - MARGIN - 14);
    const y = (share) => 8 + (1 - share) * (HEIGHT - 8 - 26);
    const text = (words, attributes) => create("svg:text", attributes, words);
    const element = create("svg:svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "pg-curves", role: "img", "aria-label":
      "Accuracy and attack success rate over the number of pruned filters. The text below says the values." });
    for (const share of [0, 0.5, 1])
      element.append(create("svg:line", { x1: x(0), x2: x(last), y1: y(share), y2: y(share), class: "pg-grid" }),
        text(percent(share), { x: MARGIN - 5, y: y(share) + 4, "text-anchor": "end" }));
    course.pruned.forEach((count, i) => {
      if (i % 4 === 0) element.append(text(count, { x: x(i), y: HEIGHT - 10, "text-anchor": "middle" }));
    });
    const after = course.pruned.findIndex((count) => count >= chosen);
    const part = after > 0 ? (chosen - course.pruned[after - 1]) / (course.pruned[after] - course.pruned[after - 1]) : 0;
    const at = x(after > 0 ? after - 1 + part : Math.max(after, 0));
    element.append(create("svg:line", { x1: at, x2: at, y1: y(1), y2: y(0), class: "pg-chosen" }));
    for (const [name, values] of [["acc", course.accuracy], ["asr", course.asr]])
      element.append(create("svg:polyline", { class: `pg-line pg-${name}`, points: values.map((v, i) => `${x(i)},${y(v)}`).join(" ") }));
    const now = create("svg:line", { y1: y(1), y2: y(0), class: "pg-now" });
    element.append(now);
    const dots = {};
    const dot = (i, name, share) => {
      const key = `${i} ${name}`;
      dots[key] ??= element.appendChild(create("svg:circle", { cx: x(i), r: 4, class: `pg-dot pg-${name}` }));
      dots[key].setAttribute("cy", y(share));
    };
    const mark = (i) => { now.setAttribute("x1", x(i)); now.setAttribute("x2", x(i)); };
    return { element, dot, mark };
  }

  /* A small square for each filter, layer by layer; pruned ones are filled, those of the backdoor have a frame. */
  function filterMap(masks) {
    const squares = [];
    const rows = Object.entries(masks.layers).map(([layer, count]) => {
      const mine = Array.from({ length: count }, () => {
        const square = create("i", masks.backdoor[squares.length] ? { class: "pg-backdoor" } : {});
        squares.push(square);
        return square;
      });
      return create("div", {}, create("span", {}, layer.replace(/^layer(.*)\.0\.bn(.)$/, "$1, conv $2").replace(/^layer(.*)\.0\.shortcut.*$/, "$1, shortcut")), create("p", {}, ...mine));
    });
    const show = (count) => {
      squares.forEach((square) => square.classList.remove("pg-off"));
      masks.order.slice(0, count).forEach((number) => squares[number].classList.add("pg-off"));
    };
    return { element: create("div", { class: "pg-filters", "aria-hidden": "true" }, ...rows), show };
  }

  function mountPruning(root, data) {
    const { side, labels, target, square, names } = data.images;
    const { order, course, chosen, backdoor } = data.masks;
    const images = decodeImages(data.images.pixels, side);
    const stamped = images.map((pixels) => pixels.map((value, i) => {
      const [y, x] = [Math.floor(i / side) - square.top, (i % side) - square.left];
      return y >= 0 && y < square.size && x >= 0 && x < square.size ? 1 : value;
    }));
    const sets = { acc: [], asr: [] };
    names.forEach((_, k) => {
      const its = labels.flatMap((label, i) => (label === k ? [i] : [])).slice(0, PER_CLASS);
      sets.acc.push(...its.map((i) => ({ pixels: images[i], wanted: k })));
      if (k !== target) sets.asr.push(...its.map((i) => ({ pixels: stamped[i], wanted: target })));
    });
    const networks = new Networks();
    networks.load("victim", data.victim);
    const chart = curves(course, chosen);
    const map = filterMap(data.masks);
    const said = announcer();
    const found = create("p", { class: "pg-found" });
    const kept = {};
    let position = 0;

    /* The share of each set that gets the wanted class, in parts, so that a moved slider is followed at once. */
    async function shares(i, stale) {
      if (kept[i]) return kept[i];
      const result = {};
      for (const [name, set] of Object.entries(sets)) {
        let hits = 0;
        for (let from = 0; from < set.length; from += 10) {
          const part = set.slice(from, from + 10);
          const values = await networks.logits("victim", part.map((one) => one.pixels), order.slice(0, course.pruned[i]));
          hits += values.filter((logits, n) => argmax(logits) === part[n].wanted).length;
          if (stale()) return null;
        }
        result[name] = hits / set.length;
      }
      return (kept[i] = result);
    }

    const compute = latest(async (stale) => {
      const i = position;
      const result = await shares(i, stale);
      if (!result) return;
      for (const [name, share] of Object.entries(result)) chart.dot(i, name, share);
      const off = order.slice(0, course.pruned[i]);
      const ofBackdoor = off.filter((number) => backdoor[number]).length;
      const words = `${off.length} of ${order.length} filters pruned, ${ofBackdoor} of them among those that the trigger moves most: ` +
        `ACC ${percent(result.acc)} of ${sets.acc.length} images, ASR ${percent(result.asr)} of ${sets.asr.length}.`;
      found.textContent = words;
      said.say(words);
    });
    function show(i) {
      position = i;
      chart.mark(i);
      map.show(course.pruned[i]);
      found.textContent = "…";
      compute();
    }
    const count = slider("Filters pruned", { max: course.pruned.length - 1, value: 0 }, (i) => `${course.pruned[i]}`, show);
    const key = (name, words) => create("span", {}, create("b", { class: `pg-key pg-${name}` }), words);
    root.replaceChildren(
      create("div", { class: "pg-columns" },
        create("div", { class: "pg-left" }, count.element, found, create("p", { class: "pg-legend" },
          key("acc", "ACC"), key("asr", "ASR"), key("chosen", "the defender's choice"),
          ` Lines: recorded, ${data.masks.measured_on} test images. Dots: counted in this page.`), chart.element),
        create("div", {}, map.element, create("p", { class: "pg-legend" }, "One square for each filter, by stage. ", key("off", "pruned"), key("backdoor", "moved most by the trigger")))),
      said.element);
    show(0);
  }

  globalThis.bdlibPlayground.mountPruning = mountPruning;
})();
