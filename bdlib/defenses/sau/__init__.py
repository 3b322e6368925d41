"""Shared adversarial unlearning (SAU). Wei et al., NeurIPS 2023, arXiv:2307.10562."""

from bdlib.defenses.sau.method import rejection, sau, unlearning_loss

__all__ = ["rejection", "sau", "unlearning_loss"]
