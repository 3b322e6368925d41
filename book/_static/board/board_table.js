// The table: Tabulator (MIT, LICENSE.tabulator beside this file) draws only the rows that are in sight.
"use strict";
(function (board) {
  const data = window.BOARD_DATA;
  const escape = (text) => String(text).replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`);
  const number = (value, digits) => (value === null ? "" : value.toFixed(digits));

  function score(cell) {
    const row = cell.getData(), name = cell.getField(), low = row[`${name}_low`];
    if (row[name] === null) return "";
    if (low === null) return number(row[name], 1);
    return `${number(row[name], 1)} <small>[${number(low, 1)}, ${number(row[`${name}_high`], 1)}]</small>`;
  }

  function links(cell) {
    return board.records(cell.getData())
      .map((one) => `<a href="${escape(one.address)}" title="record of seed ${one.seed}">${one.seed}</a>`).join(" ");
  }

  const plain = (digits) => (cell) => number(cell.getValue(), digits);
  const scoreColumn = ([field, title]) => ({ field, title: `${title} (%)`, formatter: score, width: 136, sorter: "number" });
  const base = "BackdoorBench, PreAct-ResNet18:";

  board.columns = [
    { field: "defense_title", title: "defence", width: 108 },
    { field: "attack_title", title: "attack", width: 112 },
    { field: "poison_rate", title: "poison rate (%)", width: 68, formatter: (cell) => cell.getValue() ?? "", sorter: "number" },
    ...Object.entries(board.scores).map(scoreColumn),
    { field: "seeds", title: "seeds", width: 66, sorter: "number" },
    { field: "benchmark_acc", title: `${base} ACC (%)`, width: 118, formatter: plain(2), sorter: "number" },
    { field: "benchmark_asr", title: `${base} ASR (%)`, width: 118, formatter: plain(2), sorter: "number" },
    { field: "existence", title: "backdoor left (0 to 1)", width: 98, formatter: plain(2), sorter: "number" },
    { field: "woken", title: "ASR, woken (%)", width: 92, formatter: plain(1), sorter: "number" },
    { field: "excess", title: "of it above the controls", width: 98, formatter: plain(1), sorter: "number" },
    { field: "retuned", title: "ASR, retuned (%)", width: 92, formatter: plain(1), sorter: "number" },
    { field: "dataset", title: "data set", width: 84 },
    { field: "network", title: "network", width: 168 },
    { field: "profile", title: "profile", width: 72 },
    { field: "setting", title: "setting, where it is not the headline's", width: 220 },
    { field: "passes", title: "passes (1,000 images)", width: 98, formatter: plain(0), sorter: "number" },
    { field: "peak_memory_mb", title: "peak memory (MB)", width: 92, formatter: plain(0), sorter: "number" },
    { field: "record_rest", title: "records, by seed", width: 112, formatter: links, headerSort: false },
    { field: "commit", title: "commit", width: 128 },
  ];
  const narrow = ["defense_title", "attack_title", "poison_rate", "acc", "asr", "seeds", "profile"];
  const wide = [...narrow, "network", "ra", "der", "dataset", "benchmark_acc", "benchmark_asr", "record_rest"];

  board.usualColumns = () => new Set(window.innerWidth < 600 ? narrow : wide);

  board.makeTable = function (place, rows, state) {
    const shown = state.columns || board.usualColumns();
    const columns = board.columns.map((column) => ({
      headerSortTristate: false, headerWordWrap: true, ...column,
      visible: shown.has(column.field),
      sorterParams: { alignEmptyValues: "bottom" },
      tooltip: column.field === "setting" || column.field === "commit",
    }));
    const made = new window.Tabulator(place, {
      data: rows, columns, index: "id", height: "min(32rem, 70vh)", layout: "fitDataFill", renderVerticalBuffer: 100, rowHeight: 28,
      placeholder: "No row is left. Take a filter away.",
      initialSort: [{ column: state.sort, dir: state.descending ? "desc" : "asc" }],
      initialFilter: [{ field: (row) => row.shown }],
    });
    made.on("tableBuilt", () => { // Tabulator gives no role to what is between the grid and its rows
      const holder = document.querySelector(`${place} .tabulator-tableholder`);
      holder.setAttribute("role", "rowgroup");
      holder.firstElementChild.setAttribute("role", "presentation");
    });
    return made;
  };

  board.csv = function (rows) {
    const fields = [...Object.keys(data.columns).filter((name) => !name.startsWith("record_")), "records"];
    const unit = (name) => {
      if (/_passes$/.test(name)) return `${name}_thousands`;
      return /^(acc|asr|ra|der)(_|$)|^benchmark|^poison/.test(name) ? `${name}_percent` : name;
    };
    const quoted = (value) => (/[",\n]/.test(value) ? `"${value.replace(/"/g, '""')}"` : value);
    const line = (row) => fields.map((name) => {
      if (name === "records") return board.records(row).map((one) => one.address).join(" ");
      return quoted(row[name] === null ? "" : String(row[name]));
    }).join(",");
    return [fields.map(unit).join(","), ...rows.map(line)].join("\n") + "\n";
  };

  board.bibtex = function (rows) {
    const keys = new Set(rows.flatMap((row) => [data.references[row.attack], data.references[row.defense]]));
    if (rows.some((row) => row.benchmark_acc !== null)) keys.add(data.benchmark_reference);
    return [...keys].filter((key) => data.bibtex[key]).sort().map((key) => data.bibtex[key]).join("\n\n") + "\n";
  };

  board.save = function (name, text, kind) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: kind }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };
})(window.Board);
