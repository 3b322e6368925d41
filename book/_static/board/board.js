// The page of the board: filters, columns, sorting and downloads; everything follows one state, kept in the address.
"use strict";
(function (board) {
  const find = (name) => document.getElementById(`board-${name}`);
  const rows = board.rows();
  let state = board.fromHash(location.hash), shown = rows, table, waiting;

  function box(parent, kind, key, title, isOn, change) {
    const label = parent.appendChild(document.createElement("label")), input = document.createElement("input");
    Object.assign(input, { type: "checkbox", checked: isOn, name: `${kind}:${key}` });
    input.addEventListener("change", () => change(input.checked));
    label.append(input, ` ${title}`);
  }

  function menu(name, title) {
    const details = document.createElement("details"), set = document.createElement("fieldset");
    details.dataset.kind = name;
    details.appendChild(document.createElement("summary")).textContent = title;
    set.appendChild(document.createElement("legend")).textContent = title;
    details.appendChild(set);
    details.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      details.open = false;
      details.firstChild.focus();
    });
    find("filters").appendChild(details);
    return set;
  }

  function makeControls() {
    find("filters").replaceChildren();
    for (const [kind, title] of Object.entries(board.filters)) {
      const set = menu(kind, title);
      for (const key of board.choices(rows, kind)) {
        box(set, kind, key, board.title(kind, key), state[kind].has(key), (isOn) => {
          state[kind][isOn ? "add" : "delete"](key);
          update();
        });
      }
    }
    const set = menu("columns", "columns"), usual = state.columns || board.usualColumns();
    for (const { field, title } of board.columns) {
      box(set, "column", field, title, usual.has(field), (isOn) => {
        state.columns = state.columns || board.usualColumns();
        state.columns[isOn ? "add" : "delete"](field);
        table[isOn ? "showColumn" : "hideColumn"](field);
        update();
      });
    }
    find("sort").replaceChildren(...board.columns.filter((column) => column.headerSort !== false)
      .map(({ field, title }) => new Option(title, field)));
    find("score").replaceChildren(...Object.entries(board.scores).map(([key, title]) => new Option(title, key)));
    showState();
  }

  function showState() {
    find("headline").checked = state.headline;
    find("search").value = state.search;
    find("sort").value = state.sort;
    find("order").value = state.descending ? "descending" : "ascending";
    find("score").value = state.score;
    for (const details of find("filters").children) {
      const kind = details.dataset.kind, chosen = kind === "columns" ? 0 : state[kind].size;
      details.firstChild.textContent = (board.filters[kind] || kind) + (chosen ? ` (${chosen})` : "");
    }
  }

  function select() {
    const isShown = board.shows(state);
    for (const row of rows) row.shown = isShown(row);
    shown = rows.filter((row) => row.shown);
    find("status").textContent = `${shown.length} of ${rows.length} rows are shown.`;
  }

  function drawCharts() {
    board.drawHeatMap(find("heat"), shown, state.score);
    board.drawScatter(find("scatter"), find("legend"), shown);
  }

  // The charts follow the table one frame later: on a slow phone they take longer than it.
  function drawChartsSoon() {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(() => setTimeout(() => {
      performance.measure("board-table-shown", "board-change");
      drawCharts();
      performance.measure("board-charts-shown", "board-change");
    }));
  }

  function update() {
    performance.mark("board-change");
    select();
    table.refreshFilter();
    showState();
    history.replaceState(null, "", `#${board.toHash(state)}`);
    drawChartsSoon();
  }

  function sort() {
    table.setSort(state.sort, state.descending ? "desc" : "asc");
  }

  function say(row) {
    const score = (name) => `${board.scores[name]} ${row[name].toFixed(1)}`;
    find("point").textContent = row
      ? `${row.defense_title}, ${row.attack_title} at ${row.rate} %, ${row.dataset}, ${row.profile}` +
        `${row.setting ? `, ${row.setting}` : ""}: ${score("acc")}, ${score("asr")}` : "";
  }

  function listen() {
    find("headline").addEventListener("change", (event) => { state.headline = event.target.checked; update(); });
    find("search").addEventListener("input", (event) => { state.search = event.target.value; update(); });
    find("score").addEventListener("change", (event) => { state.score = event.target.value; update(); });
    find("sort").addEventListener("change", (event) => { state.sort = event.target.value; sort(); });
    find("order").addEventListener("change", (event) => { state.descending = event.target.value === "descending"; sort(); });
    find("reset").addEventListener("click", () => { location.hash = "#settings=headline"; });
    find("csv").addEventListener("click", () => board.save("board.csv", board.csv(shown), "text/csv"));
    find("bibtex").addEventListener("click", () => board.save("board.bib", board.bibtex(shown), "text/plain"));
    for (const kind of ["pointermove", "pointerdown"]) {
      find("scatter").addEventListener(kind, (event) => say(board.pointAt(event.offsetX, event.offsetY)));
    }
    window.addEventListener("hashchange", () => { state = board.fromHash(location.hash); remake(); });
    window.addEventListener("resize", () => board.drawScatter(find("scatter"), find("legend"), shown));
    new MutationObserver(drawCharts).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  }

  function remake() {
    const columns = state.columns || board.usualColumns();
    for (const { field } of board.columns) table[columns.has(field) ? "showColumn" : "hideColumn"](field);
    makeControls();
    sort();
    update();
  }

  select();
  makeControls();
  table = board.makeTable("#board-table", rows, state);
  table.on("tableBuilt", () => performance.mark("board-built"));
  table.on("dataSorted", ([first]) => {
    if (!first || !table.initialized) return;
    if (first.field === state.sort && (first.dir === "desc") === state.descending) return;
    [state.sort, state.descending] = [first.field, first.dir === "desc"];
    showState();
    history.replaceState(null, "", `#${board.toHash(state)}`);
  });
  drawCharts();
  listen();
})(window.Board);
