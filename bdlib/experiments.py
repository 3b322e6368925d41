"""A whole run, from a notebook's parameters to its record, without the notebook.

    python -m bdlib.experiments nad results/quick/nad/<name>.json --profile quick

makes the record of that name, one of the grid in notebooks/params/<profile>/<paper>.records.yaml; several names make
several, no name all that are missing, as `make records` does for every paper.
"""

import argparse
import inspect
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from bdlib import notebooks, records
from bdlib.data import ImageSet, split
from bdlib.datasets import DATASETS
from bdlib.defenses import DEFENSES
from bdlib.evaluate import Scores, broken_premises, evaluate, predict
from bdlib.mechanisms import MECHANISMS
from bdlib.parameters import validated
from bdlib.poison import poison, stamp, triggered
from bdlib.provenance import RESULTS, code_digest, imported, runtime_facts
from bdlib.records import Record
from bdlib.triggers import TRIGGERS
from bdlib.victims import Recipe, victim


def run(paper: str, parameters: dict[str, Any]) -> Record:
    """Attack, defend and score once. `parameters` are those of the paper's notebook, all of them.

    The defence is the paper's own, or the one that a parameter `defense` names. Raises ParameterError, before any
    compute, for a parameter out of range.
    """
    recipe = Recipe.from_parameters(validated(parameters))
    defense = parameters.get("defense", paper)
    train, test = recipe.data()
    backdoored = victim(recipe)
    clean, _ = split(train, parameters["clean_fraction"], seed=parameters["seed"])
    start = time.perf_counter()
    defended = DEFENSES[defense](backdoored, clean, **settings(DEFENSES[defense], parameters))
    seconds = time.perf_counter() - start
    before, after = (
        evaluate(model, test, recipe.trigger, target_label=recipe.target_label) for model in (backdoored, defended)
    )
    measured = mechanism(paper, parameters, backdoored, defended, clean, test)
    return recorded(paper, parameters, before, after, seconds, measured)


def mechanism(
    paper: str, parameters: dict[str, Any], model: nn.Module, defended: nn.Module, clean: ImageSet, test: ImageSet
) -> dict[str, float]:
    """What the paper says happens inside, measured; nothing where it has no such measure or another defence ran."""
    if paper not in MECHANISMS or parameters.get("defense", paper) != paper:
        return {}
    measure, recipe = MECHANISMS[paper], Recipe.from_parameters(parameters)
    return measure(model, defended, clean, test, recipe.trigger, **settings(measure, parameters))


def settings(function: Callable[..., Any], parameters: dict[str, Any]) -> dict[str, Any]:
    """The keyword arguments of a defence, or of a measure, that stand in a notebook's parameters."""
    accepted = inspect.signature(function).parameters.values()
    given = parameters | {"pad": DATASETS[parameters["dataset"]].pad}
    return {p.name: given[p.name] for p in accepted if p.kind == p.KEYWORD_ONLY and p.name in given}


def recorded(
    paper: str,
    parameters: dict[str, Any],
    before: Scores,
    after: Scores,
    seconds: float,
    measured: dict[str, float] | None = None,
) -> Record:
    """The record of a run that has been scored; where a premise of the comparison is broken it says so."""
    facts: dict[str, Any] = {**runtime_facts(), "seconds": round(seconds, 2), "code": code_of(paper, parameters)}
    if torch.cuda.is_available():
        facts["peak_memory_bytes"] = torch.cuda.max_memory_allocated()
    kept = {name: value for name, value in parameters.items() if name != "record"}
    poisoned = parameters["attack"] != "none"
    premises = broken_premises(before, after) if poisoned else []
    answered = records.answers(paper, kept)
    return Record(paper, kept, before, after, answered, premises, facts, measured or {})


def code_of(paper: str, parameters: dict[str, Any]) -> str:
    """A digest of the code behind a record's numbers; a record that holds another one is out of date."""
    defense = parameters.get("defense", paper)
    files = imported(DEFENSES[defense].__module__)
    if paper in MECHANISMS and defense == paper:
        files = sorted({*files, *imported(MECHANISMS[paper].__module__)})
    trigger = type(TRIGGERS[parameters["attack"]])
    return code_digest(*files, trigger, poison, triggered, stamp, evaluate, predict)


def study(paper: str, profile: str, name: str) -> pd.DataFrame:
    """The records of one study as a table, with a column `method`; empty, with its columns, when none has been run."""
    runs, methods = [], []
    for method, point in notebooks.study(paper, profile, name):
        path = RESULTS / profile / paper / f"{records.name(point)}.json"
        if path.is_file():
            runs.append(records.read(path))
            methods.append(method)
    table = records.table(runs) if runs else records.no_runs(notebooks.parameters(paper, profile))
    return table.assign(method=methods)


def freshness(paper: str, profile: str = "quick") -> str:
    """A sentence: how many of a paper's records there are, what made them, and whether their code changed since."""
    kept = records.load(paper, profile)
    due = len(notebooks.grid(paper, profile))
    stale = sum(record.runtime.get("code") != code_of(paper, record.parameters) for record in kept)
    commits = sorted({record.runtime["commit"] for record in kept})
    words = f"{stale} of them made by code that has changed since" if stale else "all made by the code as it is now"
    origin = f", {words} (commit {', '.join(commits)})" if kept else ""
    return f"{len(kept)} of {due} {profile} records are here{origin}."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paper", choices=notebooks.papers())
    parser.add_argument("records", type=Path, nargs="*", help="files named after runs of the grid; none: all missing")
    parser.add_argument("--profile", default="quick", choices=notebooks.PROFILES)
    options = parser.parse_intermixed_args()  # files may stand before or behind --profile
    grid = {records.name(point): point for point in notebooks.grid(options.paper, options.profile)}
    folder = RESULTS / options.profile / options.paper
    paths = options.records or [folder / f"{name}.json" for name in grid if not (folder / f"{name}.json").is_file()]
    for path in paths:
        if path.stem not in grid:
            parser.error(f"record {path.name}: not in the grid of {options.paper} at profile {options.profile}")
    for path in paths:
        record = run(options.paper, grid[path.stem])
        record.save(path)
        print(f"{path.stem}: ACC {record.after.clean_accuracy:.1%}, ASR {record.after.asr:.1%}", flush=True)


if __name__ == "__main__":
    main()
