/* What several networks say about one image, as bars side by side. */
(() => {
  "use strict";
  const { create, percent, argmax } = globalThis.bdlibPlayground;

  /* The table of bars: a row for each class, a column for each network, and what each network says below. */
  function barTable(names, titles, target) {
    const cell = (words, attributes) => create("span", attributes, words);
    const heads = titles.map((title) => cell(title, { class: "pg-head" }));
    const bars = titles.map(() => []);
    const labels = names.map((name) => cell(name, { class: "pg-name" }));
    const rows = names.flatMap((name, k) => [labels[k], ...titles.map((_, n) => {
      const bar = create("span", { class: "pg-fill" });
      bars[n].push(bar);
      return create("span", { class: "pg-bar" }, bar);
    })]);
    const answers = titles.map(() => cell("", { class: "pg-answer" }));
    const counts = titles.map(() => cell("", { class: "pg-count" }));
    labels[target].append(create("small", {}, " target"));
    const element = create("div", { class: "pg-bars", "aria-hidden": "true" }, cell("", {}), ...heads, ...rows,
      cell("says", { class: "pg-name" }), ...answers, cell("other images", { class: "pg-name" }), ...counts);
    const show = (n, shares, label) => {
      const best = argmax(shares);
      shares.forEach((value, k) => {
        bars[n][k].style.width = `${100 * value}%`;
        bars[n][k].className = `pg-fill ${k === target ? "pg-target" : k === label ? "pg-true" : ""}`;
      });
      labels.forEach((name, k) => name.classList.toggle("pg-truth", k === label));
      answers[n].textContent = `${names[best]}, ${percent(shares[best])}`;
      answers[n].className = `pg-answer ${best === target ? "pg-target" : best === label ? "pg-true" : ""}`;
    };
    const count = (n, words) => { counts[n].textContent = words; };
    return { element, show, count };
  }

  Object.assign(globalThis.bdlibPlayground, { barTable });
})();
