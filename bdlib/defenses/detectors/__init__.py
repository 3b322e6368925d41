"""Detectors: they say which images are suspicious, and change no model. The same key names the module and its test.

A detector of training images takes `(model, poisoned, *, ...)`: a network trained on a set that nobody vouches for, and
that set. A detector of queries takes `(model, clean, queries, *, ...)`: a network in use, the defender's few clean
images, and the images that it is asked about. Both return a `Detection`. As for all defenses, no signature has a place
for trigger, target label, poison flags or test data.

Example::

    detection = DETECTORS["spectral_signatures"](victim, poisoned)
    cleaned = poisoned[~detection.flagged]
"""

from collections.abc import Callable

from bdlib.defenses.detectors import activation_clustering, confident_learning, spectral_signatures, strip
from bdlib.defenses.detectors.detection import Detection

__all__ = ["DETECTORS", "Detection", "activation_clustering", "confident_learning", "spectral_signatures", "strip"]

DETECTORS: dict[str, Callable[..., Detection]] = {
    # of training images
    "spectral_signatures": spectral_signatures.spectral_signatures,
    "activation_clustering": activation_clustering.activation_clustering,
    "confident_learning": confident_learning.confident_learning,
    # of queries
    "strip": strip.strip,
}
