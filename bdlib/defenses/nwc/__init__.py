"""Neuron weight change and backdoor activeness (NWC; TSBD). Lin et al., NeurIPS 2024, arXiv:2405.20291."""

from bdlib.defenses.nwc.filters import (
    RATIOS,
    Changes,
    choose_ratio,
    convolutions,
    neuron_weight_change,
    reinitialize,
    weight_change,
)
from bdlib.defenses.nwc.method import activeness_aware_fine_tune, nwc, unlearn

__all__ = ["RATIOS", "Changes", "activeness_aware_fine_tune", "choose_ratio", "convolutions", "neuron_weight_change",
           "nwc", "reinitialize", "unlearn", "weight_change"]  # fmt: skip
