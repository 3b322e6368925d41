"""Neural Cleanse: triggers that are inverted for each class, the outlier among them, and the repair."""

from bdlib.defenses.neural_cleanse.method import neural_cleanse

__all__ = ["neural_cleanse"]
