"""The scoreboard page: every claim with its verdict, the counts by paper, and their picture."""

from collections.abc import Mapping

import pandas as pd

from bdlib import claims
from bdlib.experiments.names import method_name
from bdlib.report import figures, plots


def scoreboard_files() -> dict[str, bytes]:
    """The files of the page by name, from today's records; the same records give the same bytes."""
    table = claims.claims_table(claims.load_claims())
    counts = {scale: claims.verdict_counts(table, scale) for scale in claims.SCALES}
    # A scale at which nothing has been run yet is left out, but for its sum.
    ran = {scale: kinds for scale, kinds in counts.items() if kinds.drop(columns="not run").to_numpy().any()}
    rows = [[method_name(paper), scale, *row] for scale, kinds in ran.items() for paper, *row in kinds.itertuples()]
    rows += [["all", scale, *kinds.sum()] for scale, kinds in counts.items()]
    csv = pd.DataFrame(rows, columns=["paper", "scale", *claims.VERDICTS]).to_csv(index=False)
    return {
        "scoreboard.txt": _claim_tables(table).encode(),
        "verdict_counts.csv": csv.encode(),
        "verdicts.svg": _picture(ran or counts),
    }


def _claim_tables(table: pd.DataFrame) -> str:
    """Under the name of each paper, the table of its claims that heads its chapter."""
    parts = []
    for paper, rows in table.groupby("paper", sort=False):
        parts.append(f"### [{method_name(str(paper))}](../notebooks/{paper}.ipynb)\n")
        parts.append(claims.styled(rows.drop(columns="paper").reset_index(drop=True), str(paper)).to_html())
    return "\n".join(parts)


def _picture(counts: Mapping[claims.Scale, pd.DataFrame]) -> bytes:
    """The counts of verdicts at each scale as bars, in SVG."""
    bars = {
        f"{scale} scale": {method_name(paper): kinds.loc[paper].to_dict() for paper in kinds.index}
        for scale, kinds in counts.items()
    }
    figures.style()
    return figures.svg(plots.stacked(bars, x="claims" if len(bars) > 1 else f"claims at {next(iter(bars))}"))
