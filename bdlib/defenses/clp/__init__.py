"""Channel-Lipschitzness-based pruning: the pairs of layers and the method."""

from bdlib.defenses.clp.method import clp

__all__ = ["clp"]
