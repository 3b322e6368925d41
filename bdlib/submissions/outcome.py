"""What is kept of a stranger's run: its record, in the form of all others, under `bdlib-runs`."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bdlib.evaluation import metrics
from bdlib.evaluation.metrics import Scores, broken_premises
from bdlib.experiments.config import VictimConfig
from bdlib.experiments.records import Record
from bdlib.experiments.sources import fact_of
from bdlib.experiments.versions import victim_versions
from bdlib.experiments.victims import victim_path
from bdlib.folders import RUNS
from bdlib.runtime import runtime_facts
from bdlib.submissions.source import Source

PAGE = "comparison"  # whose records these are like; they differ by the name of the defense and by `file_sha256`


def recorded(
    source: Source, config: VictimConfig, before: Scores, after: Scores, facts: Mapping[str, Any], *,
    clean_fraction: float, defense: str, keywords: Mapping[str, Any] | None = None, peak_bytes: int = 0,
    model: str = "",
) -> Record:  # fmt: skip
    """The record of a finished run. `facts` are what the process told, `passes` and `seconds`; `model`, an own one."""
    parameters = asdict(config) | {"clean_fraction": clean_fraction, "defense": defense}
    parameters |= {"model": model} if model else {}
    own = {f"own_{name}" if name in parameters else name: value for name, value in (keywords or {}).items()}
    parameters |= own | {"file_sha256": source.sha256, "function": source.function}
    runtime: dict[str, Any] = runtime_facts() | {"seconds": round(float(facts.get("seconds", 0)), 2)}
    runtime |= {"victim_threads": fact_of(victim_path(config), "threads"), "peak_process_bytes": peak_bytes}
    premises = broken_premises(before, after) if config.attack != "none" else []
    versions = victim_versions(config) | {"metrics": metrics.NUMBERS_VERSION}
    work = {name: int(facts.get("passes", {}).get(name, 0)) for name in ("forward", "backward")}
    return Record(PAGE, parameters, before, after, None, premises, runtime, {}, versions, work)


def saved(record: Record, folder: str) -> Path:
    """Where the record now is: in the folder of the runs of a profile, or of own data."""
    return record.save(RUNS / folder / record.paper / record.name)
