"""The conventional pipeline: PIL images, augmented one by one in worker processes; a loss read each step."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset

from bdlib.data._torchvision import torchvision
from bdlib.data.datasets import DATASETS
from bdlib.data.images import ImageSet
from bdlib.experiments.victims import VictimConfig


class Pictures(Dataset):
    """Images as PIL pictures, augmented one by one: how the common toolboxes feed their networks."""

    def __init__(self, data: ImageSet, config: VictimConfig) -> None:
        facts, steps = DATASETS[config.dataset], torchvision.transforms
        arrays = data.images.permute(0, 2, 3, 1).squeeze(-1).cpu().numpy()
        self.pictures = [Image.fromarray(array) for array in arrays]
        self.labels = data.labels.tolist()
        self.transform: Callable[..., torch.Tensor] = steps.Compose([
            steps.RandomCrop(facts.size, padding=facts.augmentation), steps.RandomHorizontalFlip(), steps.ToTensor(),
        ])  # fmt: skip

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(self.pictures[index]), self.labels[index]


def loader(data: ImageSet, config: VictimConfig, workers: int) -> DataLoader:
    """Batches of `Pictures` from worker processes. The networks normalize, here as everywhere."""
    return DataLoader(Pictures(data, config), config.victim_batch_size, shuffle=True, num_workers=workers,
                      persistent_workers=workers > 0, pin_memory=data.labels.is_cuda)  # fmt: skip


def conventional(model: nn.Module, batches_of_pictures: DataLoader) -> None:
    """One pass in single precision, eager, with the loss read after every step."""
    device = next(model.parameters()).device
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=5e-4)
    model.train()
    total = 0.0
    for images, labels in batches_of_pictures:
        images, labels = images.to(device, non_blocking=True), labels.to(device, non_blocking=True)
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        total += loss.item()
