// Whatever is wider than the page scrolls by itself; a reader without a mouse must be able to reach it.
"use strict";
(function () {
  function reach() {
    for (const part of document.querySelectorAll(".bd-article :is(table, figure, pre, dt.sig, .math, mjx-container, .output)")) {
      if (part.scrollWidth > part.clientWidth && getComputedStyle(part).overflowX !== "visible") part.tabIndex = 0;
    }
  }
  window.addEventListener("load", () => {
    reach();
    window.MathJax?.startup?.promise?.then(reach); // formulas are set later
  });
  window.addEventListener("resize", reach);
})();
