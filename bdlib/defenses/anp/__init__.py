"""Adversarial neuron pruning (ANP). Wu and Wang, NeurIPS 2021, arXiv:2110.14430."""

from bdlib.defenses.anp.method import anp, robust_masks

__all__ = ["anp", "robust_masks"]
