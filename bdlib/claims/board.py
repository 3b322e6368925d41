"""All verdicts side by side: the table at the head of a chapter, and the scoreboard."""

import re
from typing import Any

import pandas as pd

from bdlib import folders
from bdlib.claims import schema
from bdlib.claims.schema import SCALES, Claim, Scale
from bdlib.claims.verdicts import VERDICTS, Judgment, is_asked, judge
from bdlib.experiments import studies

NOT_ASKED = "not asked"  # at this scale
INTERVALS = (
    "In brackets: the 95 % interval over seeds of each group, or, where the groups of a claim answer differently, "
    "intervals that hold together at 95 % (Bonferroni)."
)


@studies.reading_once()
def claims_table(claims: list[Claim]) -> pd.DataFrame:
    """A row a claim, as text: what it says and where, verdict at each scale, what was expected and measured.

    The largest scale comes first. The column of what was measured at a scale is there only where something was.
    """
    rows = []
    for claim in claims:
        judgments = {scale: judge(claim, scale) for scale in SCALES}
        row = {"paper": claim.paper, "claim": claim.statement, "where": claim.source}
        row |= {f"verdict, {s}": judgments[s].verdict if is_asked(claim, s) else NOT_ASKED for s in SCALES}
        row |= {"expected": claim.expectation}
        rows.append(row | {f"measured, {scale}": "\n".join(judgments[scale].measured) for scale in SCALES})
    verdicts, measured = ([f"{what}, {scale}" for scale in SCALES] for what in ("verdict", "measured"))
    table = pd.DataFrame(rows, columns=["paper", "claim", "where", *verdicts, "expected", *measured])
    return table.drop(columns=[name for name in measured if not table[name].any()])


def largest_scale_run(paper: str = "*") -> Scale:
    """The largest scale of which there are records of a paper, or of any; the smallest scale where there are none.

    Example: ``claims.largest_scale_run("nad")``.
    """
    return next((scale for scale in SCALES if any((folders.RESULTS / scale).glob(f"{paper}/*.json"))), SCALES[-1])


def largest_judgment(claim: Claim) -> tuple[Judgment, Scale]:
    """The judgment of a claim at the largest scale where there are runs to answer it, and that scale.

    Where there are none, the judgment is "not run", at the smallest scale.

    Example: ``largest_judgment(load_claims()[0])``
    """
    for scale in SCALES:
        judgment = judge(claim, scale)
        if judgment.verdict != "not run":
            break
    return judgment, scale


def verdict_table(paper: str) -> Any:
    """The claims of one paper and their verdicts, as the head of its chapter shows them.

    Example: ``claims.verdict_table("rnp")``.
    """
    table = claims_table([claim for claim in schema.load_claims() if claim.paper == paper]).drop(columns="paper")
    if table.empty:
        table.loc[0] = [f"No claim of {paper} has been written down yet.", *[""] * (len(table.columns) - 1)]
    return styled(table, paper)


def styled(table: pd.DataFrame, name: str) -> Any:
    """A table of claims as a page shows it: a column a scale with the verdict above what was measured, a line a group.

    The place in the paper and the bound are under each claim. A scale at which none of the claims has been run has no
    column, but is named in the caption. `name` tells the table from others of a page.
    """
    kinds = {scale: {*table[f"verdict, {scale}"]} - {NOT_ASKED, "not run", ""} for scale in SCALES}
    ran = [scale for scale in SCALES if kinds[scale]]
    about = zip(table["claim"], table["where"], table["expected"], strict=True)
    texts = [f"{text}\n({place})\nExpected: {bound}" if place else text for text, place, bound in about]
    cells = {f"{scale} scale": [_cell(row, scale) for _, row in table.iterrows()] for scale in ran}
    shown = pd.DataFrame({"claim": texts} | cells).style.hide(axis="index").format(escape="html")
    layout = {"text-align": "left", "vertical-align": "top", "font-size": "0.8em", "padding": "0.3em 0.5em"}
    shown = shown.set_properties(**layout, **{"white-space": "pre-line", "min-width": "11em"})
    bold = [{"selector": f"td.col{1 + i}::first-line", "props": "font-weight: bold"} for i in range(len(ran))]
    caption = {"selector": "caption", "props": "caption-side: bottom; text-align: left; font-size: 0.8em"}
    shown = shown.set_table_styles([*bold, caption]).set_table_attributes('class="table dataframe"')
    missing = [scale for scale in SCALES if scale not in ran]
    return shown.set_uuid(f"verdicts-{name}").set_caption(
        INTERVALS + (f" Not run yet: {', '.join(missing)} scale." if missing else "")
    )


def _cell(row: pd.Series, scale: str) -> str:
    """Verdict and measurements at a scale; an interval is not broken between lines."""
    measured = re.sub(r"(\S+) \[(\S+), (\S+)\]", "\\1\u00a0[\\2,\u00a0\\3]", row.get(f"measured, {scale}", ""))
    return f"{row[f'verdict, {scale}']}\n{measured}".strip()


def verdict_counts(table: pd.DataFrame, scale: str) -> pd.DataFrame:
    """How many claims of each paper came to each verdict at a scale, out of what `claims_table` gives."""
    asked = table[table[f"verdict, {scale}"] != NOT_ASKED]
    counts = pd.crosstab(asked["paper"], asked[f"verdict, {scale}"])
    return counts.reindex(index=list(dict.fromkeys(table["paper"])), columns=list(VERDICTS), fill_value=0)
