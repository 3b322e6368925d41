"""I-BAU: the implicit hypergradient and the method."""

from bdlib.defenses.i_bau.method import i_bau

__all__ = ["i_bau"]
