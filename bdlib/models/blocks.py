"""The residual blocks of which the networks are made."""

import torch.nn.functional as F
from torch import Tensor, nn


def convolution(inputs: int, outputs: int, size: int, stride: int) -> nn.Conv2d:
    """A convolution without bias that keeps the grid, but for its stride."""
    return nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)


class PreActBlock(nn.Module):
    """Basic residual block that normalizes before it convolves. He et al. 2016, arXiv:1603.05027."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = convolution(inputs, outputs, 3, stride)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = convolution(outputs, outputs, 3, 1)
        changes = stride != 1 or inputs != outputs
        self.shortcut = convolution(inputs, outputs, 1, stride) if changes else None

    def forward(self, features: Tensor) -> Tensor:
        active = F.relu(self.bn1(features))
        kept = features if self.shortcut is None else self.shortcut(active)
        return kept + self.conv2(F.relu(self.bn2(self.conv1(active))))


class PooledBlock(PreActBlock):
    """As the pre-activation block; where the grid halves, the largest of four values is kept instead of every fourth.

    The first convolution so sees the whole grid, which costs more and tells more, as in short recipes for CIFAR-10.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__(inputs, outputs, 1)
        self.pool = nn.MaxPool2d(stride) if stride > 1 else nn.Identity()
        if stride > 1 and self.shortcut is None:
            self.shortcut = convolution(inputs, outputs, 1, 1)

    def forward(self, features: Tensor) -> Tensor:
        active = F.relu(self.bn1(features))
        kept = features if self.shortcut is None else self.shortcut(self.pool(active))
        return kept + self.conv2(F.relu(self.bn2(self.pool(self.conv1(active)))))


class SmallBlock(nn.Module):
    """Two convolutions, each followed by BatchNorm, and an identity or average-pooled shortcut.

    Every filter has its own BatchNorm behind it, so that a filter can be masked by one number.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = convolution(inputs, outputs, 3, stride), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = convolution(outputs, outputs, 3, 1), nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(convolution(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))

    def forward(self, features: Tensor) -> Tensor:
        active = F.relu(features)
        inner = F.relu(self.bn1(self.conv1(active)))
        return self.shortcut(active) + self.bn2(self.conv2(inner))
