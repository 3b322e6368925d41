/* Finds the playgrounds of a page, loads what each needs once it comes into view, and mounts it.

   `bdlibPlayground.mount(element, data)` is all that a page, a notebook's widget or a test calls. `data.kind` is trigger,
   pruning or isolation; the rest is what the scripts of bdlib/report/playground assign. */
(() => {
  "use strict";
  const NEEDS = {
    trigger: { code: ["network", "networks", "parts", "bars", "trigger"], data: ["images", "victim", "repaired", "twin"] },
    pruning: { code: ["network", "networks", "parts", "pruning"], data: ["images", "victim", "masks"] },
    isolation: { code: ["parts", "isolation_view"], data: ["isolation"] },
  };
  const own = document.currentScript?.src;
  const scripts = {};

  /* Loads a script beside this one, once. */
  function script(name) {
    scripts[name] ??= new Promise((resolve, reject) => {
      const element = document.createElement("script");
      element.src = new URL(`${name}.js`, own).href;
      element.onload = resolve;
      element.onerror = () => reject(new Error(`${element.src} cannot be loaded`));
      document.head.append(element);
    });
    return scripts[name];
  }

  function styled() {
    if (document.querySelector("link[data-playground]")) return;
    const link = document.createElement("link");
    Object.assign(link, { rel: "stylesheet", href: new URL("playground.css", own).href });
    link.dataset.playground = "";
    document.head.append(link);
  }

  /* Puts a playground into `element`, in place of what is there. */
  function mount(element, data) {
    element.classList.add("bd-playground");
    const { mountTrigger, mountPruning, mountIsolation } = globalThis.bdlibPlayground;
    ({ trigger: mountTrigger, pruning: mountPruning, isolation: mountIsolation })[data.kind](element, data);
    element.dataset.mounted = data.kind;
  }

  async function loadAndMount(element) {
    const kind = element.dataset.playground;
    try {
      styled();
      for (const name of NEEDS[kind].code) await script(name);
      await Promise.all(NEEDS[kind].data.map(script));
      mount(element, { kind, ...globalThis.bdlibPlaygroundData });
    } catch (error) {
      element.append(` This part could not start: ${error.message}.`);
    }
  }

  globalThis.bdlibPlayground ??= {};
  Object.assign(globalThis.bdlibPlayground, { mount });
  if (!own) return; // in a widget, whose scripts and data come another way
  const seen = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries)
      if (isIntersecting) {
        seen.unobserve(target);
        loadAndMount(target);
      }
  }, { threshold: 0.01 });
  document.querySelectorAll("[data-playground]").forEach((element) => element.dataset.playground in NEEDS && seen.observe(element));
})();
