"""How well scores find the filters that the trigger changes most, layer by layer, beside chance."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from bdlib.evaluation.trigger_analysis import precision_at


def precision(scores: Mapping[str, Tensor], truth: Mapping[str, Tensor], share: float) -> float:
    """Of the highest `scores`, a `share` of every layer: the part that is among as many with the highest `truth`."""
    counts = {name: _count(len(values), share) for name, values in truth.items()}
    hits = [count * precision_at(count, scores[name], truth[name]) for name, count in counts.items()]
    return sum(hits) / sum(counts.values())


def chance(truth: Mapping[str, Tensor], share: float) -> float:
    """The mean of `precision` over random scores."""
    counts = {name: _count(len(values), share) for name, values in truth.items()}
    return sum(count**2 / len(truth[name]) for name, count in counts.items()) / sum(counts.values())


def precision_curves(
    scores: Mapping[str, Mapping[str, Tensor]],
    truth: Mapping[str, Tensor],
    shares: Sequence[float] = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0),
) -> dict[str, tuple[list[float], list[float]]]:
    """For each detector, and for chance: the shares named and the precision at each, all in per cent."""
    curves = {name: [precision(each, truth, share) for share in shares] for name, each in scores.items()}
    curves["chance"] = [chance(truth, share) for share in shares]
    return {name: ([100 * s for s in shares], [100 * y for y in heights]) for name, heights in curves.items()}


def _count(size: int, share: float) -> int:
    """How many of `size` a share of them is: rounded, and at least one."""
    return max(1, round(share * size))
