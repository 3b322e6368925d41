"""Carry the 678 quick records over to the names of parameters and measures that this version uses. Run once.

    python scripts/migrate_records.py

Scores are not touched. A record's file is renamed after its parameters, as `bdlib.experiments.records.name` does.
"""

import json

from bdlib.experiments import records
from bdlib.runtime import RESULTS

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


def main() -> None:
    for path in sorted(RESULTS.glob("*/*/*.json")):
        raw = json.loads(path.read_text())
        raw["parameters"] = {PARAMETERS.get(name, name): value for name, value in raw["parameters"].items()}
        raw["measured"] = {MEASURED.get(name, name): value for name, value in raw.get("measured", {}).items()}
        path.write_text(json.dumps(raw, indent=2, sort_keys=True, allow_nan=False) + "\n")
        record = records.read(path)
        path.rename(path.with_name(f"{records.name(record.parameters)}.json"))


if __name__ == "__main__":
    main()
