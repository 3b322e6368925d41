"""The verdicts that have been accepted, what `bdlib verify` prints, and which verdicts have become worse."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from bdlib import folders
from bdlib.claims import schema
from bdlib.claims.schema import SCALES, Claim, Scale
from bdlib.claims.values import check_claim
from bdlib.claims.verdicts import VERDICTS, counted_verdicts, is_asked, judge
from bdlib.experiments import studies
from bdlib.files import FileError, read_text, write_whole


@studies.reading_once()
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
    verdicts, lines = {}, []
    for claim in (claim for claim in claims if is_asked(claim, scale)):
        judgment = judge(claim, scale)
        verdicts[claim.id] = judgment.verdict
        measured = "; ".join(judgment.measured) or "no record"
        lines.append(f"{scale:6}{judgment.verdict:16}{claim.id}: {measured}; expected {claim.expectation}")
    before, has_run = accepted_verdicts(scale), bool(set(verdicts.values()) - {"not run"})
    total = f"{scale}: {len(verdicts)} claims: {counted_verdicts(verdicts.values())}"
    print("\n".join([*(lines if has_run else []), total]))
    worse, better = verdict_changes(before, verdicts)
    if accept and (before or has_run):
        print(f"{scale}: {len(verdicts)} verdicts accepted in {accept_verdicts(scale, verdicts).name}")
        return []
    if better and has_run:
        print("\n".join([f"{scale}: better, better known or new; `bdlib verify --accept` accepts:", *better]))
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
    """What got worse, or vanished, and what got better, or is new, since `before`; a line each.

    Worse is in the order of VERDICTS: to support a claim less, or to know less of it. What was undecided and is "not
    reproduced" is known better.
    """
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
