"""The files of the board's page: the rows as a script that a page opened from a file can load, and their sources.

The script assigns `window.BOARD_DATA`: a column each, words as positions in a list of the words that occur.
"""

import json
import math
import re
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

import pandas as pd
import yaml

from bdlib.attacks import ATTACKS
from bdlib.defenses import DEFENSES
from bdlib.experiments import manifest
from bdlib.experiments.names import attack_title, method_name
from bdlib.files import read_text
from bdlib.folders import ROOT
from bdlib.report.board import BENCHMARK, PASSES, SCORES, board_csv, board_table
from bdlib.report.board_probes import PROBES
from bdlib.report.board_rates import rates_svg
from bdlib.report.board_settings import KEYS

WORDS = (*(key for key in KEYS if key != "poison_rate"), "commit")  # columns of words
TITLES = {"none": "no defence", "staged": "stages combined"}  # defences whose title is not `method_name`'s
REFERENCES = {  # the entry of book/references.bib that describes each attack and defence
    "badnets": "gu2017badnets", "blended": "chen2017targeted", "sig": "barni2019sig", "low_frequency":
    "zeng2021frequency", "label_consistent": "turner2019labelconsistent", "trojan": "liu2018trojaning", "ssba":
    "li2021ssba", "wanet": "nguyen2021wanet", "input_aware": "nguyen2020inputaware", "bpp": "wang2022bpp",
    "fine_tune": None, "fine_prune": "liu2018finepruning", "anp": "wu2021anp", "nad": "li2021nad", "rnp": "li2023rnp",
    "ar": "fan2022ar", "nwc": "lin2024tsbd", "sau": "wei2023sau", "npd": "zhu2023npd", "ft_sam": "zhu2023ftsam",
    "clp": "zheng2022clp", "i_bau": "zeng2022ibau", "neural_cleanse": "wang2019cleanse",
    "spectral_signatures": "tran2018spectral", "activation_clustering": "chen2018clustering",
    "abl": "li2021abl", "pdb": "wei2024pdb", "vdc": "zhu2024vdc", "staged": None, "none": None,
}  # fmt: skip
BENCHMARK_REFERENCE = "wu2022backdoorbench"  # of the cells beside ours


def board_files(table: pd.DataFrame | None = None) -> dict[str, bytes]:
    """The generated files of the board's page by name; the same records give the same bytes.

    Example: `board_files()["static/board_data.js"]`
    """
    table = board_table() if table is None else table
    pictures = {f"asr_by_rate_{profile}.svg": rates_svg(table, profile) for profile in ("quick", "cifar")}
    return {"static/board_data.js": data_script(table), "static/board.csv": board_csv(table), **pictures}


def data_script(table: pd.DataFrame) -> bytes:
    """The rows of the board as a script, in per cent with two decimals, with titles and BibTeX entries.

    Example: `len(data_script(board_table())) / len(board_table())` are the bytes of a row, about 200.
    """
    columns: dict[str, Any] = {name: _coded(table[name].fillna("").astype(str)) for name in WORDS}
    columns["poison_rate"] = _rounded(100 * table["poison_rate"], 4)
    shares = [f"{score}{end}" for score in SCORES for end in ("", "_low", "_high")]
    columns |= {name: _rounded(100 * table[name], 2) for name in (*shares, *BENCHMARK)}
    columns |= {name: _rounded(table[name] * (1 if name == "existence" else 100), 2) for name in PROBES}
    columns |= {name: _rounded(table[name] / 1000, 1) for name in PASSES}  # thousands of images
    columns["peak_memory_mb"] = _rounded(table["peak_memory_mb"], 0)
    columns["seeds"] = table["seeds"].tolist()
    columns |= _record_columns(table["records"])
    data = {"rows": len(table), "columns": columns, "titles": titles(), "references": REFERENCES,
            "bibtex": bibtex_entries(), "benchmark_reference": BENCHMARK_REFERENCE, "address": _address()}  # fmt: skip
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return f"window.BOARD_DATA={text};\n".encode()


def titles() -> dict[str, dict[str, str]]:
    """What the page calls each attack and each defence."""
    attacks = {key: attack_title(key) for key in ATTACKS}
    return {"attack": attacks, "defense": {key: TITLES.get(key) or method_name(key) for key in ("none", *DEFENSES)}}


def bibtex_entries() -> dict[str, str]:
    """The entries of book/references.bib that the page can name, by key.

    Raises KeyError for one that is not there.
    """
    text = read_text(ROOT / "book" / "references.bib")
    entries = {match[1]: match[0].strip() for match in re.finditer(r"^@\w+\{([^,]+),.*?(?=^@|\Z)", text, re.M | re.S)}
    return {key: entries[key] for key in sorted({*filter(None, REFERENCES.values()), BENCHMARK_REFERENCE})}


def _address() -> str:
    """Where the repository's files are shown; _config.yml has the address."""
    place = yaml.safe_load(read_text(ROOT / "_config.yml"))["repository"]
    return f"{place['url']}/blob/{place['branch']}/results/"


def _coded(words: pd.Series) -> dict[str, list[Any]]:
    """A column of words: the words that occur, and the position of each row's among them."""
    known = sorted(set(words))
    places = {word: place for place, word in enumerate(known)}
    return {"words": known, "codes": [places[word] for word in words]}


def _rounded(numbers: pd.Series, digits: int) -> list[float | int | None]:
    """Numbers as short as JSON has them; None for a blank."""
    short = [None if math.isnan(number) else round(float(number), digits) for number in numbers.astype(float)]
    return [int(number) if number is not None and number == int(number) else number for number in short]


def _record_columns(places: pd.Series) -> dict[str, Any]:
    """The records of each row as what their names share, and the rest of each; the profile's folder is left out."""
    shared, rests = [], []
    for row in places:
        names = [str(PurePosixPath(*PurePosixPath(place).parts[1:]).with_suffix("")) for place in row.split()]
        start = _shared_start(names) if len(names) > 1 else names[0][:-8]  # what differs is the digest
        shared.append(start)
        rests.append(" ".join(name.removeprefix(start) for name in names))
    return {"record_start": _coded(pd.Series(shared, dtype=str)), "record_rest": rests}


def _shared_start(names: list[str]) -> str:
    first, last = min(names), max(names)
    length = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return first[:length]


def board_planned(profiles: Sequence[str] = ("quick", "cifar")) -> pd.DataFrame:
    """How many runs the board plans at each profile, and how many records are here: one row each."""
    rows = []
    for profile in profiles:
        runs = manifest.table(manifest.planned_runs(profile, ["board"]))
        here = int((runs["state"] == "here").sum())
        rows.append({"profile": profile, "runs planned": len(runs), "victims": runs["victim"].nunique(), "here": here,
                     "missing": len(runs) - here})  # fmt: skip
    return pd.DataFrame(rows)
