"""All verdicts side by side: the table at the head of a chapter, the scoreboard, and what `bdlib verify` prints."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from bdlib import folders
from bdlib.claims import schema
from bdlib.claims.schema import SCALES, Claim, Scale
from bdlib.claims.values import check_claim
from bdlib.claims.verdicts import VERDICTS, judge
from bdlib.files import FileError, read_text, write_whole

NOT_ASKED = "not asked"  # at this scale


def claims_table(claims: list[Claim]) -> pd.DataFrame:
    """A row a claim, as text: what it says and where, verdict at each scale, what was expected and measured.

    The column of what was measured at a scale is there only where something was.
    """
    rows = []
    for claim in claims:
        judgments = {scale: judge(claim, scale) for scale in SCALES}
        row = {"paper": claim.paper, "claim": claim.statement, "where": claim.source}
        row |= {f"verdict, {s}": judgments[s].verdict if s in claim.scales else NOT_ASKED for s in SCALES}
        row |= {"expected": claim.expectation}
        rows.append(row | {f"measured, {scale}": "\n".join(judgments[scale].measured) for scale in SCALES})
    verdicts, measured = ([f"{what}, {scale}" for scale in SCALES] for what in ("verdict", "measured"))
    table = pd.DataFrame(rows, columns=["paper", "claim", "where", *verdicts, "expected", *measured])
    return table.drop(columns=[name for name in measured if not table[name].any()])


def verdict_table(paper: str) -> Any:
    """The claims of one paper and their verdicts, as the head of its chapter shows them.

    Example: ``claims.verdict_table("rnp")``.
    """
    table = claims_table([claim for claim in schema.load_claims() if claim.paper == paper]).drop(columns="paper")
    if table.empty:
        table.loc[0] = [f"No claim of {paper} has been written down yet.", *[""] * (len(table.columns) - 1)]
    return styled(table, paper)


def styled(table: pd.DataFrame, name: str) -> Any:
    """A table of claims as a page shows it: nothing cut off, the place in the paper under each claim, a line a group.

    `name` tells it from the other tables of a page.
    """
    texts = [
        f"{text}\n({place})" if place else text for text, place in zip(table["claim"], table["where"], strict=True)
    ]
    shown = table.assign(claim=texts).drop(columns="where").style.hide(axis="index").format(escape="html")
    layout = {"text-align": "left", "vertical-align": "top", "font-size": "0.8em", "padding": "0.3em 0.5em"}
    shown = shown.set_uuid(f"verdicts-{name}").set_properties(**layout, **{"white-space": "pre-line"})
    shown = shown.set_properties(subset=["claim"], **{"min-width": "14em"})
    unbroken = [column for column in table if column.startswith(("measured", "verdict"))]
    return shown.set_properties(subset=unbroken, **{"white-space": "pre"}).set_table_attributes(
        'class="table dataframe"'
    )


def verdict_counts(table: pd.DataFrame, scale: str) -> pd.DataFrame:
    """How many claims of each paper came to each verdict at a scale, out of what `claims_table` gives."""
    asked = table[table[f"verdict, {scale}"] != NOT_ASKED]
    counts = pd.crosstab(asked["paper"], asked[f"verdict, {scale}"])
    return counts.reindex(index=list(dict.fromkeys(table["paper"])), columns=list(VERDICTS), fill_value=0)


def verify(scales: Sequence[Scale] = SCALES, *, accept: bool = False) -> list[str]:
    """Print every claim with its verdict at each of `scales`; returns a line for each that is worse than accepted.

    The accepted verdicts are in results/<scale>/verdicts.csv. With `accept`, today's are written there, and nothing is
    returned. Raises ClaimError for a claim that cannot be read, or that no planned run will answer.
    """
    claims = schema.load_claims()
    for claim in claims:
        check_claim(claim)
    return [line for scale in scales for line in _verify_at(scale, claims, accept)]


def _verify_at(scale: Scale, claims: list[Claim], accept: bool) -> list[str]:
    verdicts = {}
    for claim in (claim for claim in claims if scale in claim.scales):
        judgment = judge(claim, scale)
        verdicts[claim.id] = judgment.verdict
        measured = "; ".join(judgment.measured) or "no record"
        print(f"{scale:6}{judgment.verdict:16}{claim.id}: {measured}; expected {claim.expectation}")
    before, has_run = accepted_verdicts(scale), bool(set(verdicts.values()) - {"not run"})
    worse, better = verdict_changes(before, verdicts)
    if accept and (before or has_run):
        print(f"{scale}: {len(verdicts)} verdicts accepted in {accept_verdicts(scale, verdicts).name}")
        return []
    if better and has_run:
        print("\n".join([f"{scale}: better or new; `bdlib verify --accept` accepts:", *better]))
    return [f"{scale}: {line}" for line in worse]


def accepted_verdicts(scale: str) -> dict[str, str]:
    """The committed verdicts, by claim. Raises FileError for a table that `accept_verdicts` did not write."""
    path = _accepted_file(scale)
    if not path.exists():
        return {}
    verdicts: dict[str, str] = {}
    lines = read_text(path).splitlines()
    if lines[:1] != ["id,verdict"]:
        raise FileError(f"{path}, line 1: must be id,verdict")
    for number, line in enumerate(lines[1:], 2):
        name, _, verdict = line.partition(",")
        if not re.fullmatch("[a-z0-9_-]+", name) or verdict not in VERDICTS or name in verdicts:
            raise FileError(f"{path}, line {number}: {line[:80]!r} must be a new id and one of {', '.join(VERDICTS)}")
        verdicts[name] = verdict
    return verdicts


def accept_verdicts(scale: str, verdicts: Mapping[str, str]) -> Path:
    """Write verdicts by claim as those with which later ones are compared; returns the file."""
    table = pd.DataFrame(sorted(verdicts.items()), columns=["id", "verdict"])
    return write_whole(_accepted_file(scale), table.to_csv(index=False).encode())


def _accepted_file(scale: str) -> Path:
    return folders.RESULTS / scale / "verdicts.csv"


def verdict_changes(before: Mapping[str, str], now: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """What got worse, or vanished, and what got better, or is new, since `before`; a line each."""
    worse, better = [], []
    for name in sorted({*before, *now}):
        old, new = before.get(name), now.get(name)
        if old is None:
            better.append(f"{name}: new, {new}")
        elif new is None:
            worse.append(f"{name}: was {old}, has vanished")
        elif old != new:
            lines = worse if VERDICTS.index(new) > VERDICTS.index(old) else better
            lines.append(f"{name}: was {old}, is {new}")
    return worse, better
