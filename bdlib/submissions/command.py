"""`bdlib evaluate`: from a file and a place to a table, records, and how to propose what is in it."""

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from bdlib.attacks import ATTACKS
from bdlib.checks import ParameterError
from bdlib.experiments.records import Record
from bdlib.experiments.victims import evaluate_victim, load_data, trained_victim
from bdlib.report.comparison import Mismatch
from bdlib.submissions import victims
from bdlib.submissions.attacks import evaluate_attack
from bdlib.submissions.defenses import evaluate_defense
from bdlib.submissions.limits import Limits
from bdlib.submissions.networks import evaluate_network
from bdlib.submissions.ours import USUAL, check_keys, run_ours
from bdlib.submissions.outcome import saved
from bdlib.submissions.source import Source, read_source
from bdlib.submissions.table import among, as_runs, of_the_book
from bdlib.submissions.victims import Place, place_of

Say = Callable[[str], None]
ATTACKED_BY = ("badnets", "blended")  # where nobody names others
WARNING = (
    "The code runs in its own process with limits; it is no sandbox. Run code that you do not trust in a container."
)


def evaluate_file(
    text: str, on: str, attacks: tuple[str, ...], seeds: tuple[int, ...], against: tuple[str, ...], limits: Limits,
    parameters: Mapping[str, Any], *, size: int, channels: int, smoke: bool, say: Say, show: Say,
) -> bool:  # fmt: skip
    """Put what `text` names through the book, and say what came out; returns whether anything failed.

    Raises ParameterError, DataError and FileError for what cannot be, before any compute.

    Example: `evaluate_file("a.py:purify", "fashion", (), (0,), (), Limits(), {}, size=32, channels=3, ...)`
    """
    source, keys = read_source(text), check_keys(against)
    _check(source, attacks, parameters)
    place = place_of(on, size=size, channels=channels, smoke=smoke)
    say(WARNING)
    attacks = attacks or ATTACKED_BY
    if source.kind == "attack":
        records, failures = evaluate_attack(source, place, seeds, keys or USUAL, limits=limits, say=say, show=show)
        _print_own(records, say)
    elif source.kind == "network":
        records, failures = evaluate_network(
            source, place, attacks, seeds, keys or USUAL, limits=limits, say=say, show=show
        )
        _print_own(records, say)
    else:
        records, failures = _defense(source, place, attacks, seeds, keys, limits, parameters, say, show)
    if records:
        say(_proposal(source))
    return bool(failures)


def _check(source: Source, attacks: tuple[str, ...], parameters: Mapping[str, Any]) -> None:
    for attack in attacks:
        if attack not in ATTACKS:
            raise ParameterError(f"attack={attack!r}: must be one of {', '.join(ATTACKS)}")
    if source.kind == "attack" and attacks:
        raise ParameterError(f"attack={attacks[0]!r}: must be left out, {source.path.name} is the attack")
    for name in parameters:
        if name not in source.keywords or source.kind != "defense":
            known = ", ".join(source.keywords) or "none"
            raise ParameterError(f"{name}: no such keyword; {source.function} has {known}")
        if name == "seed":
            raise ParameterError("seed: is that of the victim; --seed names it")


def _defense(
    source: Source, place: Place, attacks: tuple[str, ...], seeds: tuple[int, ...], keys: tuple[str, ...],
    limits: Limits, parameters: Mapping[str, Any], say: Say, show: Say,
) -> tuple[list[Record], list[str]]:  # fmt: skip
    """Run a stranger's defense, beside it what `keys` name, and print the tables."""
    configs = place.configs(attacks, seeds)
    say(victims.cost(configs))
    records, failures = evaluate_defense(
        source, configs, clean_fraction=place.clean_fraction, keywords=parameters, folder=place.profile, limits=limits,
        say=say, show=show, forbidden=(place.folder,) if place.folder else (),
    )  # fmt: skip
    if not records:
        return records, failures
    beside = _book(place, attacks, seeds, say, trains="poisoned" in source.arguments)
    live = [_beside(key, config, place, say) for key in keys for config in configs]
    if live:
        runs = as_runs(live)
        theirs = None if beside is None else beside[~beside["method"].isin(set(runs["method"]))]
        beside = runs if theirs is None else pd.concat([theirs, runs], ignore_index=True)
    own = as_runs(records, source.name)
    for attack in dict.fromkeys(own["attack"]):
        say(f"\n{attack} on {place.dataset}, means over seeds with 95 % intervals\n{_text(among(own, beside, attack))}")
    return records, failures


def _book(
    place: Place, attacks: tuple[str, ...], seeds: tuple[int, ...], say: Say, *, trains: bool
) -> pd.DataFrame | None:
    """The book's own records at this place; None, and a line, where there are none to put beside."""
    if not place.has_records:
        return None
    try:
        return of_the_book(place.profile, attacks, seeds, trains=trains)
    except Mismatch as error:
        say(f"The book's rows are left out: {error}")
        return None


def _beside(key: str, config: Any, place: Place, say: Say) -> Record:
    say(f"{config.attack}, seed {config.seed}: {key} runs")
    model, test = trained_victim(config), load_data(config)[1]
    before = evaluate_victim(config, model, test)
    record = run_ours(key, config, place.profile, place.clean_fraction, model, before, test)
    saved(record, place.profile)
    return record


def _print_own(records: list[Record], say: Say) -> None:
    """The rows of the book's defenses on a stranger's attack or network."""
    if records:
        runs = as_runs(records)
        for attack in dict.fromkeys(runs["attack"]):
            text = _text(among(runs, None, attack))
            say(f"\n{attack}, means over seeds with 95 % intervals\n{text}")


def _text(table: pd.DataFrame) -> str:
    return str(table.to_string())


def _proposal(source: Source) -> str:
    """How to propose it, in three lines."""
    return (
        f"\nTo propose it, in a checkout: 1. bdlib new {source.kind} {source.name} writes the files, yours goes in;\n"
        f"2. pytest -k {source.name}, then make test; 3. a pull request with the records.\n"
        "The page book/contribute/your_defense.md says what is looked at."
    )
