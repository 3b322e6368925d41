"""Benign salience and adaptive regularisation (AR). Fan et al. 2022, arXiv:2208.06537."""

from bdlib.defenses.ar.method import Interrupted, adaptive_penalty, ar, masked_share, released_penalty

__all__ = ["Interrupted", "adaptive_penalty", "ar", "masked_share", "released_penalty"]
