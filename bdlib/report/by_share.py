"""What records measured at several shares of a network's filters, as lines of a figure."""

import re

import pandas as pd


def over_shares(runs: pd.DataFrame, order: str, score: str) -> tuple[list[float], list[float]]:
    """Shares and mean scores, both in per cent, out of the columns `<order>_<share>_<score>` of some runs.

    Two empty lists where no run has such columns.

    Example: `over_shares(runs, "random", "asr")` reads the columns random_0.01_asr, random_0.02_asr and so on.
    """
    pattern = re.compile(rf"{re.escape(order)}_(\d[\d.e-]*)_{re.escape(score)}")
    found = [(match, runs[column].mean()) for column in runs if (match := pattern.fullmatch(str(column)))]
    points = sorted((100 * float(match[1]), 100 * float(mean)) for match, mean in found if pd.notna(mean))
    return [share for share, _ in points], [mean for _, mean in points]
