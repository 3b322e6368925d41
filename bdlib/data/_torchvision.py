"""torchvision, importable even beside a torch whose build cannot load torchvision's compiled operators.

The registry's torchvision is built for CUDA. Beside a CPU-only torch its import stops at two operators that it
describes without checking that they exist; declaring them is enough, since nothing in bdlib calls them.
"""

import torch

try:
    import torchvision
except RuntimeError as error:
    if "torchvision::nms" not in str(error):
        raise
    OPERATORS = torch.library.Library("torchvision", "FRAGMENT")  # kept: its schemas vanish with it
    for name in ("nms", "qnms"):
        OPERATORS.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision

__all__ = ["torchvision"]
