"""The board: all records of all profiles in one table, a row for each setting with its mean over seeds.

Nothing is chosen by its outcome. A defence has a headline row, its chapter's settings at the profile, and a row for
every other setting that was run, which the page hides until it is asked for. The undefended victims are rows too.
"""

import io
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from bdlib import folders
from bdlib.evaluation.intervals import seed_interval
from bdlib.evaluation.metrics import Scores, defense_effectiveness
from bdlib.experiments import notebooks, records
from bdlib.experiments.records import Record
from bdlib.experiments.regression import WITHOUT_VICTIM
from bdlib.experiments.reported import reported
from bdlib.files import write_whole
from bdlib.report.board_probes import PROBES, mean_probes, probed
from bdlib.report.board_settings import KEYS, keys_of, victim_keys

SCORES = ("acc", "asr", "ra", "der")  # shares; each is followed by the ends of its interval
PASSES = ("forward_passes", "backward_passes")  # images that the defence sent through networks, mean over seeds
RUNTIME = ("peak_memory_mb", "commit", "records")
BENCHMARK = ("benchmark_acc", "benchmark_asr")  # BackdoorBench's cell of the same setting, with PreAct-ResNet18
COLUMNS = (*KEYS, "seeds", *(f"{score}{end}" for score in SCORES for end in ("", "_low", "_high")), *PASSES, *RUNTIME,
           *BENCHMARK, *PROBES)  # fmt: skip
PROFILES = tuple(profile for profile in notebooks.PROFILES if profile != "smoke")  # which says nothing
MEMORY = ("peak_memory_bytes", "peak_process_memory_bytes")  # on a GPU what was allocated, else the process's


@dataclass(frozen=True)
class Run:
    """One seed of a row: what it scored, what it cost, and where its record is, from the folder of results."""

    seed: int
    scores: dict[str, float | None]  # by the names in SCORES
    passes: dict[str, int]
    runtime: dict[str, Any]
    place: str
    probes: dict[str, float] = field(default_factory=dict)  # what the page on re-activation measured of it


def board_table(results: Path | None = None) -> pd.DataFrame:
    """The board, from all records in a folder of results (default: the project's); columns `COLUMNS`.

    Scores are shares, and blank where they mean nothing: a clean model has no ASR, RA or DER. An interval is Student's
    at 95 % within 0 and 1, and blank for one seed. `records` are files below results/, separated by blanks.

    Example: `board_table().query("defense == 'nad' and setting == ''")[["attack", "acc", "asr", "seeds"]]`
    """
    rows: dict[tuple[Any, ...], dict[int, Run]] = {}
    probes: dict[tuple[Any, ...], dict[int, dict[str, float]]] = {}
    for key, run in _runs(results or folders.RESULTS):
        rows.setdefault(key, {}).setdefault(run.seed, run)
        probes.setdefault(key, {}).setdefault(run.seed, {}).update(run.probes)
    made = [_row(key, list(runs.values())) | mean_probes(probes[key]) for key, runs in rows.items()]
    table = pd.DataFrame(made, columns=[*COLUMNS])
    table = with_benchmark(table)
    return table.sort_values([*KEYS], kind="stable", ignore_index=True, na_position="first")


def board_csv(table: pd.DataFrame) -> bytes:
    """The table as results/board.csv holds it: six decimals at most, so that equal records give equal bytes."""
    return table.round(6).to_csv(index=False).encode()


def read_board(content: bytes) -> pd.DataFrame:
    """The table that `board_csv` wrote. No setting is "", not a missing value."""
    return pd.read_csv(io.BytesIO(content), keep_default_na=False, na_values={name: [""] for name in _numbers()})


def write_board(results: Path) -> Path:
    """Write board.csv into a folder of results, from the records that it holds. Returns the file.

    Example: `write_board(RESULTS)`
    """
    return write_whole(results / "board.csv", board_csv(board_table(results)))


def with_benchmark(table: pd.DataFrame) -> pd.DataFrame:
    """`table` with BackdoorBench's ACC and ASR, as shares, where data set, attack, poison rate and defence are ours.

    Only headline rows can have one: of other settings nothing is published. The network is BackdoorBench's.
    """
    cells = reported("backdoorbench").query("model_key == 'preact_resnet18'")
    where = ["dataset_key", "attack_key", "poison_rate", "defense_key"]
    known = {tuple(row[where]): (row["acc_percent"] / 100, row["asr_percent"] / 100) for _, row in cells.iterrows()}
    ours = table[["dataset", "attack", "poison_rate", "defense"]].itertuples(index=False, name=None)
    found = [known.get(key, (math.nan, math.nan)) if setting == "" else (math.nan, math.nan)
             for key, setting in zip(ours, table["setting"], strict=True)]  # fmt: skip
    return table.assign(**{name: [cell[i] for cell in found] for i, name in enumerate(BENCHMARK)})


def _numbers() -> list[str]:
    return [name for name in COLUMNS if name not in {*KEYS, "commit", "records"}] + ["poison_rate"]


def _runs(results: Path) -> Iterator[tuple[tuple[Any, ...], Run]]:
    """Every record as a run of its row, and then every victim once: those first whose record has no defence."""
    victims: list[tuple[bool, tuple[Any, ...], Run]] = []
    for profile in PROFILES:
        paths = sorted((results / profile).glob("*/*.json"))
        present = records.read_present(p for p in paths if p.parent.name not in WITHOUT_VICTIM)
        # A page that looks into a repair runs it again: the row is that of its own chapter where there is one.
        for path, record in sorted(present.items(), key=lambda item: "repaired_by" in item[1].parameters):
            place, seed = path.relative_to(results).as_posix(), record.parameters["seed"]
            key = keys_of(record, profile)
            *about, setting = victim_keys(record, profile)
            is_bare = key[-2] == "none"
            victim = _run(record, seed, place, record.before, {})
            victims.append((not is_bare, (*about, "none", setting), victim))
            if not is_bare:
                yield key, _run(record, seed, place, record.after, record.passes, probed(record, profile))
    yield from ((key, run) for _, key, run in sorted(victims, key=lambda entry: entry[0]))


def _run(
    record: Record, seed: int, place: str, scores: Scores | None, passes: dict[str, int],
    probes: dict[str, float] | None = None,
) -> Run:  # fmt: skip
    assert record.before is not None and scores is not None  # pages without a victim are left out
    has_attack = record.parameters["attack"] != "none"
    attacked = {"asr": scores.asr, "ra": scores.robust_accuracy, "der": defense_effectiveness(record.before, scores)}
    shown = {"acc": scores.clean_accuracy} | {name: value if has_attack else None for name, value in attacked.items()}
    return Run(seed, shown, passes, record.runtime, place, probes or {})


def _row(key: tuple[Any, ...], runs: list[Run]) -> dict[str, Any]:
    """Means over seeds with their intervals, and what the seeds cost."""
    runs = sorted(runs, key=lambda run: run.seed)
    row = dict(zip(KEYS, key, strict=True)) | {"seeds": len(runs)}
    for score in SCORES:
        values = [value for run in runs if (value := run.scores[score]) is not None]
        row |= dict(zip((score, f"{score}_low", f"{score}_high"), _interval(values), strict=True))
    for name in PASSES:
        row[name] = _mean([run.passes[way] for run in runs if (way := name.removesuffix("_passes")) in run.passes])
    if key[KEYS.index("defense")] == "none":
        row |= dict.fromkeys(PASSES, 0.0)  # nothing was done
    else:
        row["peak_memory_mb"] = max((run.runtime[n] / 1e6 for run in runs for n in MEMORY if n in run.runtime),
                                    default=math.nan)  # fmt: skip
    row["commit"] = " ".join(sorted({str(run.runtime.get("commit", "unknown")) for run in runs}))
    return row | {"records": " ".join(run.place for run in runs)}


def _interval(values: list[float]) -> tuple[float, float, float]:
    if len(values) < 2:
        return (values[0] if values else math.nan, math.nan, math.nan)
    mean, low, high = seed_interval(values)
    return mean, max(low, 0.0), min(high, 1.0)


def _mean(values: list[Any]) -> float:
    return sum(values) / len(values) if values else math.nan
