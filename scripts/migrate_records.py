"""Carry the 678 quick records over to the form that this version reads. Run once, on the files of commit 804ac27.

    git rm -q results/quick/*/*.json && git checkout 804ac27 -- results/quick
    python scripts/migrate_records.py

No score changes. Parameters and measured values get their new names, and a file the name that its content asks for. The
versions of the code, all 1 so far, take the place of the digest of its text. `profile` goes: the folder says it.
"""

import json
from pathlib import Path

from bdlib.evaluation.metrics import Scores
from bdlib.experiments.records import Record
from bdlib.experiments.versions import versions
from bdlib.folders import RESULTS

PARAMETERS = {
    "drop_epoch": "milestone",
    "regulariser": "regularizer",
    "floor": "threshold_rule",
    "companions": "cover_samples",
    "key": "defensive_trigger",
    "key_size": "defensive_trigger_size",
    "key_value": "defensive_trigger_value",
    "key_moves": "defensive_trigger_moves",
}
MEASURED = {
    "defence_wins": "defense_wins",
    "no_key_accuracy": "no_defensive_trigger_accuracy",
    "companion_accuracy": "cover_accuracy",
    "companion_asr": "cover_asr",
    "reinitialised_accuracy": "reinitialized_accuracy",
    "reinitialised_asr": "reinitialized_asr",
    "runner_up_is_target_before": "second_class_is_target_before",
    "runner_up_is_target_after": "second_class_is_target_after",
}
ADDED = {"lps": {"variant": "paper"}}  # of NAD, which that page ran with its default


def migrated(path: Path) -> Record:
    """The record in a file of the old form."""
    raw = json.loads(path.read_text(encoding="utf-8"))
    paper = raw["paper"]
    parameters = {PARAMETERS.get(name, name): value for name, value in raw["parameters"].items() if name != "profile"}
    parameters |= ADDED.get(paper, {})
    return Record(
        paper,
        parameters,
        before=Scores(**raw["before"]),
        after=Scores(**raw["after"]),
        reported=raw["reported"],
        premises=raw["premises"],
        runtime={name: value for name, value in raw["runtime"].items() if name != "code"},
        measured={MEASURED.get(name, name): value for name, value in raw.get("measured", {}).items()},
        versions=versions(paper, parameters),
    )


def main() -> None:
    for path in sorted((RESULTS / "quick").glob("*/*.json")):
        record = migrated(path)
        path.unlink()
        record.save(path.with_name(record.name))


if __name__ == "__main__":
    main()
