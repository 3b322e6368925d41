// The rows of the board out of board_data.js, what is shown of them, and the address of a view (#defense=nad&sort=asr).
"use strict";
window.Board = {};
(function (board) {
  const data = window.BOARD_DATA;
  const words = ["profile", "dataset", "network", "attack", "defense", "setting", "commit", "record_start"];
  board.filters = {
    profile: "profile", dataset: "data set", network: "network", attack: "attack", poison_rate: "poison rate", defense: "defence",
  };
  board.scores = { acc: "ACC", asr: "ASR", ra: "RA", der: "DER" };
  board.start = { headline: true, search: "", score: "asr", sort: "asr", descending: false, columns: null };

  board.title = function (kind, key) {
    const known = data.titles[kind] || {};
    if (kind === "poison_rate") return key === "" ? "not known" : `${key} %`;
    return known[key] || key;
  };

  board.rows = function () {
    const names = Object.keys(data.columns);
    const rows = new Array(data.rows);
    for (let i = 0; i < data.rows; i++) {
      const row = { id: i };
      for (const name of names) {
        const column = data.columns[name];
        row[name] = column.words ? column.words[column.codes[i]] : column[i];
      }
      row.rate = row.poison_rate === null ? "" : String(row.poison_rate);
      row.attack_title = board.title("attack", row.attack);
      row.defense_title = board.title("defense", row.defense);
      const done = row.forward_passes !== null;
      row.passes = done ? row.forward_passes + row.backward_passes : null;
      row.text = [...words.slice(0, 6).map((name) => row[name]), row.attack_title, row.defense_title].join(" ").toLowerCase();
      rows[i] = row;
    }
    return rows;
  };

  // The records of a row: the seed of each and where it is shown.
  board.records = function (row) {
    return row.record_rest.split(" ").map((rest) => {
      const name = row.record_start + rest;
      const seed = /-seed(\d+)-/.exec(name);
      return { seed: seed ? seed[1] : "?", address: `${data.address}${row.profile}/${name}.json` };
    });
  };

  board.choices = function (rows, kind) {
    const field = kind === "poison_rate" ? "rate" : kind;
    const keys = [...new Set(rows.map((row) => row[field]))];
    if (kind === "poison_rate") return keys.sort((a, b) => Number(b) - Number(a));
    const order = Object.keys(data.titles[kind] || {});
    const place = (key) => (order.indexOf(key) < 0 ? order.length : order.indexOf(key));
    return keys.sort((a, b) => place(a) - place(b) || (a < b ? -1 : 1));
  };

  board.shows = function (state) {
    const kinds = Object.keys(board.filters).filter((kind) => state[kind] && state[kind].size);
    const needles = state.search.toLowerCase().split(/\s+/).filter(Boolean);
    return (row) => {
      if (state.headline && row.setting !== "") return false;
      for (const kind of kinds) if (!state[kind].has(kind === "poison_rate" ? row.rate : row[kind])) return false;
      return needles.every((needle) => row.text.includes(needle));
    };
  };

  // Only what differs from the start is in the address.
  board.toHash = function (state) {
    const parts = new URLSearchParams();
    for (const kind of Object.keys(board.filters)) if (state[kind].size) parts.set(kind, [...state[kind]].join(","));
    if (!state.headline) parts.set("settings", "all");
    for (const name of ["search", "score", "sort"]) if (state[name] !== board.start[name]) parts.set(name, state[name]);
    if (state.descending) parts.set("order", "descending");
    if (state.columns) parts.set("columns", [...state.columns].join(","));
    return parts.toString();
  };

  board.fromHash = function (hash) {
    const state = { ...board.start };
    for (const kind of Object.keys(board.filters)) state[kind] = new Set();
    if (!hash.includes("=")) return state;
    const parts = new URLSearchParams(hash.replace(/^#/, ""));
    for (const kind of Object.keys(board.filters)) {
      for (const key of (parts.get(kind) || "").split(",")) if (key) state[kind].add(key);
    }
    state.headline = parts.get("settings") !== "all";
    state.search = parts.get("search") || "";
    if (board.scores[parts.get("score")]) state.score = parts.get("score");
    state.sort = parts.get("sort") || board.start.sort;
    state.descending = parts.get("order") === "descending";
    if (parts.get("columns")) state.columns = new Set(parts.get("columns").split(","));
    return state;
  };
})(window.Board);
