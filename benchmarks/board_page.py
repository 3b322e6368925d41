"""How fast the board's page opens and filters in Chromium, from a file, and how it grows with its rows.

    make book && pip install playwright && python benchmarks/board_page.py --rows 5000

The rows are real records, repeated with other poison rates in a temporary folder, so that reading, the table, the
script with the data and the built page are all measured as they are. Playwright is no dependency of the project: it
needs a Chromium, its own or the one that --chromium names.
"""

import argparse
import json
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

import pandas as pd

from bdlib.experiments import records
from bdlib.experiments.regression import WITHOUT_VICTIM
from bdlib.folders import RESULTS, ROOT
from bdlib.report.board import PROFILES, board_table
from bdlib.report.board_page import data_script

SCREENS = {"desktop": {"viewport": {"width": 1440, "height": 900}},
           "phone": {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 3, "is_mobile": True,
                     "has_touch": True}}  # fmt: skip
SHOWN = "document.querySelector('#board-table .tabulator-row') !== null"
PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
READY = "performance.getEntriesByName('board-built')[0].startTime"
FILTER = """async (name) => {
    const took = (what) => performance.getEntriesByName(`board-${what}-shown`).at(-1)?.duration;
    performance.clearMeasures();
    document.querySelector(`input[name="${name}"]`).click();
    while (took("charts") === undefined) await new Promise((done) => setTimeout(done, 5));
    return [took("table"), took("charts")];
}"""  # from the click to the frame with the table, and to the charts, which are drawn after it


def repeat_records(folder: Path, number: int) -> int:
    """Write `number` records into `folder`, as results/ has them. Returns how many.

    Each copy of a real record has another poison rate, and so is another setting, with another victim beside it.
    """
    paths = [path for profile in PROFILES for path in sorted((RESULTS / profile).glob("*/*.json"))]
    read = [(path, records.read(path)) for path in paths if path.parent.name not in WITHOUT_VICTIM]
    real = [(path, record) for path, record in read if record.parameters["attack"] != "none"]
    made = 0
    while made < number:
        path, record = real[made % len(real)]
        parameters = record.parameters | {"poison_rate": round(0.0005 + 1e-5 * (made // len(real)), 7)}
        copy = replace(record, parameters=parameters)
        copy.save(folder / path.parent.parent.name / path.parent.name / copy.name)
        made += 1
    return made


def board_of(rows: int, folder: Path) -> tuple[bytes, dict[str, float]]:
    """The script with the data of a board of exactly `rows` rows, and what making it took."""
    written = repeat_records(folder, 5 * rows // 2)
    start = time.perf_counter()
    table = board_table(folder)
    seconds = time.perf_counter() - start
    if len(table) < rows:
        raise SystemExit(f"--rows {rows}: {written} records give {len(table)} rows only")
    script = data_script(table.sample(rows, random_state=0).sort_index())
    return script, {"rows": rows, "records read": written, "seconds to read them": round(seconds, 1),
                    "data (kB)": round(len(script) / 1e3), "bytes a row": round(len(script) / rows)}  # fmt: skip


def measure(page_file: Path, chromium: str | None, screen: str, slowdown: int, repeats: int) -> dict[str, float]:
    """Milliseconds until the first paint and until the table is there, and of a filter: its table, then its charts.

    Other load only adds to a time, so the fastest says most of the page, and the median what was seen.
    """
    from playwright.sync_api import sync_playwright

    paints, tables, filters = [], [], []
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium)
        for _ in range(repeats):
            context = browser.new_context(**SCREENS[screen])
            page = context.new_page()
            context.new_cdp_session(page).send("Emulation.setCPUThrottlingRate", {"rate": slowdown})
            page.goto(page_file.as_uri() + "#settings=all")
            page.wait_for_function(SHOWN)
            paints.append(page.evaluate(PAINT))
            tables.append(page.evaluate(READY))
            names = page.eval_on_selector_all("#board-filters input[name^=attack]", "all => all.map(one => one.name)")
            filters += [page.evaluate(FILTER, name) for name in names[:4] + names[:4]]
            context.close()
        browser.close()
    shown, charts = zip(*filters, strict=True)
    times = {"first paint": paints, "table": tables, "filter": shown, "filter with charts": charts}
    return {f"{name}, {kind} (ms)": round(of(values)) for name, values in times.items()
            for kind, of in (("fastest", min), ("median", median))}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--book", type=Path, default=ROOT / "build" / "book", help="the built book")
    parser.add_argument("--rows", type=int, nargs="+", default=[500, 1000, 2000, 5000, 10000])
    parser.add_argument("--chromium", help="path of a Chromium; default: Playwright's own")
    parser.add_argument("--slowdown", type=int, default=4, help="how many times slower a phone's processor is")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, help="CSV file for the numbers")
    options = parser.parse_args()
    measured = []
    with tempfile.TemporaryDirectory() as temporary:
        site = Path(temporary) / "site"
        shutil.copytree(options.book / "_static", site / "_static")
        (site / "book").mkdir()
        shutil.copy(options.book / "book" / "board.html", site / "book")
        for rows in options.rows:
            script, row = board_of(rows, Path(temporary) / str(rows))
            (site / "_static" / "board_data.js").write_bytes(script)
            for screen, slowdown in (("desktop", 1), ("phone", 1), ("phone", options.slowdown)):
                times = measure(site / "book" / "board.html", options.chromium, screen, slowdown, options.repeats)
                measured.append(row | {"screen": screen, "slower processor": slowdown} | times)
                print(json.dumps(measured[-1]), flush=True)
    if options.out:
        pd.DataFrame(measured).to_csv(options.out, index=False)


if __name__ == "__main__":
    main()
