/* Try a trigger: three networks answer the same image at once. */
(() => {
  "use strict";
  const { create, slider, choice, drawPixels, decodeImages, announcer, latest, percent, argmax, barTable, Networks, softmax } =
    globalThis.bdlibPlayground;
  const KEYS = ["victim", "repaired", "twin"];
  const COUNTED = 45; // images of other classes on which the success is counted, five of each

  /* The image with the square and the painted pixels on it, as numbers in [0, 1]. */
  function triggered(pixels, state, side) {
    const mixed = Float32Array.from(pixels);
    const put = (i) => { mixed[i] += state.strength * (1 - mixed[i]); };
    if (state.tool !== "none") state.painted.forEach(put);
    if (state.tool === "square")
      for (let y = 0; y < state.size; y++)
        for (let x = 0; x < state.size; x++) {
          const i = (state.top + y) * side + state.left + x;
          if (!state.painted.has(i)) put(i);
        }
    return mixed;
  }

  function mountTrigger(root, data) {
    const { side, names, target, labels, square } = data.images;
    const images = decodeImages(data.images.pixels, side);
    const networks = new Networks();
    KEYS.forEach((key) => networks.load(key, data[key]));
    const state = { image: 0, tool: "square", strength: 1, painted: new Set(), ...square, cursor: [square.top, square.left] };
    const byClass = names.map((_, k) => labels.flatMap((label, i) => (label === k ? [i] : [])));
    const offered = [0, 1].flatMap((turn) => byClass.map((its) => its[turn]));
    const counted = byClass.flatMap((its, k) => (k === target ? [] : its.slice(0, COUNTED / (names.length - 1))));
    const named = ["repaired", "twin"]; // begin with an image that both of them get right
    state.image = offered.find((i) => labels[i] !== target && named.every((key) => data[key].triggered[i] === labels[i])) ?? offered[0];

    const canvas = create("canvas", { class: "pg-canvas", tabindex: 0, role: "application", "aria-label":
      "The image with the trigger on it. Arrow keys move the square; when painting, they move the brush and the space bar paints." });
    const brush = create("span", { class: "pg-brush", hidden: true });
    const table = barTable(names, KEYS.map((key) => data[key].title), target);
    const said = announcer();

    const compute = latest(async (stale) => {
      const pixels = triggered(images[state.image], state, side);
      const label = labels[state.image];
      const words = [];
      for (const [n, key] of KEYS.entries()) {
        const [values] = await networks.logits(key, [pixels]);
        const shares = softmax(values);
        table.show(n, shares, label);
        words.push(`${data[key].title}: ${names[argmax(shares)]}, ${percent(Math.max(...shares))}`);
      }
      said.say(`The image shows: ${names[label]}. ${words.join(". ")}.`);
      for (const [n, key] of KEYS.entries()) {
        let hits = 0;
        for (let i = 0; i < counted.length && !stale(); i++) {
          const [values] = await networks.logits(key, [triggered(images[counted[i]], state, side)]);
          hits += argmax(values) === target;
        }
        if (stale()) return;
        table.count(n, `${hits} of ${counted.length}`);
      }
    });

    function draw() {
      drawPixels(canvas, triggered(images[state.image], state, side));
      const painting = state.tool === "paint";
      brush.hidden = !painting;
      brush.style.top = `${(100 * state.cursor[0]) / side}%`;
      brush.style.left = `${(100 * state.cursor[1]) / side}%`;
      KEYS.forEach((_, n) => table.count(n, "…"));
      compute();
    }

    const within = (value, size) => Math.max(0, Math.min(side - size, value));
    function move(top, left) {
      if (state.tool === "square") Object.assign(state, { top: within(top, state.size), left: within(left, state.size) });
      else state.cursor = [within(top, 1), within(left, 1)];
      draw();
    }
    const pixelAt = (event) => {
      const box = canvas.getBoundingClientRect();
      return [event.clientY - box.top, event.clientX - box.left].map((value) => Math.floor((value / box.width) * side));
    };
    function touch(event) {
      if (!event.buttons || state.tool === "none") return;
      const [y, x] = pixelAt(event);
      if (state.tool === "square") return move(y - 1, x - 1);
      state.cursor = [within(y, 1), within(x, 1)];
      state.painted.add(state.cursor[0] * side + state.cursor[1]);
      draw();
    }
    canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); touch(event); });
    canvas.addEventListener("pointermove", touch);
    canvas.addEventListener("keydown", (event) => {
      const [y, x] = state.tool === "square" ? [state.top, state.left] : state.cursor;
      const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
      const step = steps[event.key];
      if (step && state.tool !== "none") move(y + step[0], x + step[1]);
      else if (event.key === " " && state.tool === "paint") {
        const i = y * side + x;
        if (!state.painted.delete(i)) state.painted.add(i);
        draw();
      } else return;
      event.preventDefault();
    });

    const strength = slider("Strength", { max: 100, value: 100 }, (value) => `${value} %`, (value) => {
      state.strength = value / 100;
      draw();
    });
    const reset = create("button", { type: "button", click: () => {
      Object.assign(state, { top: square.top, left: square.left, strength: 1 });
      state.painted.clear();
      strength.set(100);
      draw();
    } }, "As the attacker has it");
    const thumbnails = Object.fromEntries(offered.map((i) => {
      const picture = create("canvas", { role: "img", "aria-label": names[labels[i]] });
      drawPixels(picture, images[i]);
      return [i, picture];
    }));
    root.replaceChildren(
      create("div", { class: "pg-columns" },
        create("div", { class: "pg-left" },
          create("div", { class: "pg-frame" }, canvas, brush),
          choice("Trigger", { square: "square", paint: "paint", none: "none" }, "square", (tool) => {
            state.tool = tool;
            draw();
          }),
          strength.element, reset),
        table.element),
      create("div", { class: "pg-thumbnails" }, choice("Image", thumbnails, String(state.image), (i) => {
        state.image = Number(i);
        draw();
      })),
      said.element);
    draw();
  }

  globalThis.bdlibPlayground.mountTrigger = mountTrigger;
})();
