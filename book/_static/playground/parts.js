/* What the playgrounds share: elements, sliders, pictures of pixels, and words for what is heard and not seen. */
(() => {
  "use strict";
  const SVG = "http://www.w3.org/2000/svg";

  /* An element with attributes and children; a function among the attributes listens to the event of its name. */
  function create(tag, attributes = {}, ...children) {
    const made = tag.startsWith("svg:") ? document.createElementNS(SVG, tag.slice(4)) : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (typeof value === "function") made.addEventListener(name, value);
      else if (value !== null && value !== false) made.setAttribute(name, value === true ? "" : value);
    }
    made.append(...children);
    return made;
  }

  /* A labelled slider that shows its value in words; `say(value)` makes them. */
  function slider(label, { min = 0, max, step = 1, value }, say, changed) {
    const words = create("output", {}, say(value));
    const input = create("input", {
      type: "range", min, max, step, value, "aria-valuetext": say(value),
      input: () => { show(); changed(Number(input.value)); },
    });
    const show = () => {
      words.textContent = say(Number(input.value));
      input.setAttribute("aria-valuetext", words.textContent);
    };
    const set = (number) => { input.value = number; show(); };
    return { element: create("label", { class: "pg-slider" }, create("span", {}, label, " ", words), input), input, set };
  }

  /* One choice of several, as radio buttons: one stop of the tab key, arrow keys inside. */
  function choice(legend, options, chosen, changed) {
    const name = `pg-${Math.random().toString(36).slice(2)}`;
    const items = Object.entries(options).map(([value, content]) => {
      const input = create("input", { type: "radio", name, value, checked: value === chosen, change: () => changed(value) });
      return create("label", {}, input, content);
    });
    return create("fieldset", { class: "pg-choice" }, create("legend", {}, legend), ...items);
  }

  /* Draws pixels in [0, 1], side by side in rows, on a canvas of as many pixels. */
  function drawPixels(canvas, pixels) {
    const side = Math.sqrt(pixels.length);
    canvas.width = canvas.height = side;
    const picture = new ImageData(side, side);
    pixels.forEach((value, i) => {
      picture.data.fill(Math.round(255 * value), 4 * i, 4 * i + 3);
      picture.data[4 * i + 3] = 255;
    });
    canvas.getContext("2d").putImageData(picture, 0, 0);
  }

  /* Images from base64 text of their bytes, each as numbers in [0, 1]. */
  function decodeImages(text, side) {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const size = side * side;
    return Array.from({ length: bytes.length / size }, (_, i) =>
      Float32Array.from(bytes.subarray(i * size, (i + 1) * size), (value) => value / 255));
  }

  /* A place where a result is said to those who cannot see it, once it has not changed for a moment. */
  function announcer() {
    const element = create("p", { class: "pg-said", "aria-live": "polite" });
    let timer = 0;
    const say = (words) => {
      clearTimeout(timer);
      timer = setTimeout(() => { if (element.textContent !== words) element.textContent = words; }, 500);
    };
    return { element, say };
  }

  /* Calls `work` again and again, once at a time: while it runs, only the latest request is remembered. */
  function latest(work) {
    let busy = false;
    let wanted = false;
    return async function run() {
      wanted = true;
      if (busy) return;
      busy = true;
      while (wanted) {
        wanted = false;
        await work(() => wanted);
      }
      busy = false;
    };
  }

  const percent = (share) => `${Math.round(100 * share)} %`;
  const argmax = (values) => values.indexOf(Math.max(...values));

  globalThis.bdlibPlayground ??= {};
  Object.assign(globalThis.bdlibPlayground, { create, slider, choice, drawPixels, decodeImages, announcer, latest, percent, argmax });
})();
