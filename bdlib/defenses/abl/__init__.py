"""Anti-backdoor learning (ABL). Li et al., NeurIPS 2021, arXiv:2110.11571."""

from bdlib.defenses.abl.method import abl, unlearn_isolated

__all__ = ["abl", "unlearn_isolated"]
