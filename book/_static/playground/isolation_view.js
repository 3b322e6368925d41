/* Watch ABL isolate: the recorded losses of the training images, epoch by epoch. Nothing is trained in the page. */
(() => {
  "use strict";
  const { create, slider, choice, drawPixels, decodeImages, announcer, percent } = globalThis.bdlibPlayground;
  const [WIDTH, HEIGHT, MARGIN] = [420, 210, 12];
  const count = (number) => number.toLocaleString("en");
  const NAMES = { badnets: "BadNets", blended: "Blended" };

  /* Two histograms on one axis: other images upwards, poisoned ones downwards, each by its own highest bar. */
  function histograms(edges) {
    const middle = (HEIGHT - 18) / 2;
    const x = (value) => MARGIN + ((value - edges[0]) / (edges[edges.length - 1] - edges[0])) * (WIDTH - 2 * MARGIN);
    const text = (words, attributes) => create("svg:text", attributes, words);
    const element = create("svg:svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "pg-histograms", role: "img", "aria-label":
      "Histograms of the losses of poisoned and of other images. The text below says how many poisoned images are isolated." });
    const shade = create("svg:rect", { x: MARGIN, y: 0, height: HEIGHT - 18, class: "pg-isolated" });
    element.append(shade);
    const bars = { others: [], poisoned: [] };
    for (const [kind, its] of Object.entries(bars))
      for (let i = 0; i + 1 < edges.length; i++) {
        its.push(create("svg:rect", { x: x(edges[i]) + 0.5, width: x(edges[1]) - x(edges[0]) - 1, class: `pg-${kind}` }));
        element.append(its[i]);
      }
    element.append(create("svg:line", { x1: MARGIN, x2: WIDTH - MARGIN, y1: middle, y2: middle, class: "pg-grid" }),
      text("other images", { x: MARGIN + 4, y: 14 }), text("poisoned images", { x: MARGIN + 4, y: HEIGHT - 26 }));
    for (let power = Math.ceil(edges[0]); power <= edges[edges.length - 1]; power += 2)
      element.append(create("svg:text", { x: x(power), y: HEIGHT - 4, "text-anchor": "middle" }, "10",
        create("svg:tspan", { "font-size": "70%", dy: -4 }, `${power}`.replace("-", "−"))));
    const show = (epoch, highest) => {
      for (const [kind, its] of Object.entries(bars)) {
        const most = Math.max(...epoch[kind]);
        its.forEach((bar, i) => {
          const height = (epoch[kind][i] / most) * (middle - 18);
          bar.setAttribute("height", height);
          bar.setAttribute("y", kind === "others" ? middle - height : middle);
        });
      }
      shade.setAttribute("width", Math.max(0, x(highest) - MARGIN));
    };
    return { element, show };
  }

  function mountIsolation(root, data) {
    const { courses, rates, edges, side } = data.isolation;
    const state = { course: 0, epoch: 0, rate: rates.indexOf(0.01) };
    const pictures = courses.map((course) => decodeImages(course.pixels, side));
    const chart = histograms(edges);
    const said = announcer();
    const found = create("p", { class: "pg-found" });
    const gallery = create("div", { class: "pg-gallery" });

    function show() {
      const course = courses[state.course];
      const epoch = course.epochs[state.epoch];
      const [isolated, hits] = [epoch.isolated[state.rate], epoch.hits[state.rate]];
      chart.show(epoch, epoch.highest[state.rate]);
      gallery.replaceChildren(...epoch.lowest.map((i) => {
        const poisoned = course.is_poisoned[i];
        const picture = create("canvas", { role: "img", class: poisoned ? "pg-poisoned" : "",
          "aria-label": poisoned ? "a poisoned image" : "an image that is not poisoned" });
        drawPixels(picture, pictures[state.course][i]);
        return picture;
      }));
      const words = `After epoch ${state.epoch + 1}, ${hits} of the ${isolated} isolated images are poisoned (${percent(hits / isolated)}); ` +
        `of all ${count(course.images)} images, ${count(course.poisoned)} are (${percent(course.poisoned / course.images)}).`;
      found.textContent = words;
      said.say(words);
    }
    const change = (name) => (value) => {
      state[name] = Number(value);
      show();
    };
    const epochs = courses[0].epochs.length;
    const epoch = slider("Epoch", { max: epochs - 1, value: 0 }, (i) => `${i + 1} of ${epochs}`, change("epoch"));
    const rate = slider("Isolated share", { max: rates.length - 1, value: state.rate },
      (i) => `${(100 * rates[i]).toFixed(1)} %`, change("rate"));
    const attacks = Object.fromEntries(courses.map(({ attack }, i) => [String(i), NAMES[attack] ?? attack]));
    root.replaceChildren(
      create("div", { class: "pg-columns" },
        create("div", { class: "pg-left" }, choice("Attack", attacks, "0", change("course")), epoch.element, rate.element, found),
        create("div", {}, chart.element, create("p", { class: "pg-legend" }, "Loss in nats. Shaded: isolated. Each half has its own scale."))),
      create("p", { class: "pg-legend" }, "The twelve images of lowest loss; poisoned ones have a thick frame:"), gallery, said.element);
    show();
  }

  globalThis.bdlibPlayground.mountIsolation = mountIsolation;
})();
