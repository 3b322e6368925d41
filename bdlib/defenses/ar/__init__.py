"""Benign salience and adaptive regularization (AR). Fan et al. 2022, arXiv:2208.06537."""

from bdlib.defenses.ar.method import adaptive_penalty, ar, masked_share, released_penalty

__all__ = ["adaptive_penalty", "ar", "masked_share", "released_penalty"]
