"""Versatile data cleanser (VDC). Zhu, Zhang, Wei, Wu & Wu, ICLR 2024, arXiv:2309.16211.

A poisoned or mislabeled image shows something else than its label says. VDC asks somebody who can see, a multimodal
language model in the paper, several questions about the label of each image, and drops the images whose answers
disagree. A network is then trained from scratch on the rest. It needs no clean image and trains no detector.

Its three stages are `questions` (what is asked about a label), `answerers` (who answers) and `evaluation` (whether an
answer agrees with the label); `method` puts them together.
"""

from bdlib.defenses.vdc.method import vdc

__all__ = ["vdc"]
