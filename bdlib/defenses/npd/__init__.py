"""Neural polarizer defense (NPD). Zhu et al., NeurIPS 2023, arXiv:2306.16697."""

from bdlib.defenses.npd.method import npd, polarize, polarizer_loss, warm_up

__all__ = ["npd", "polarize", "polarizer_loss", "warm_up"]
