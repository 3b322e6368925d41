"""Victim training beside the bare step and beside a conventional pipeline of PIL images and worker processes."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from measure import NETWORKS, Row, config_of, interleaved, peak_memory, ratios
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset

from bdlib.data._torchvision import torchvision
from bdlib.data.datasets import DATASETS
from bdlib.data.images import ImageSet, batches
from bdlib.experiments.victims import VictimConfig, poisoned_set
from bdlib.training.loop import train
from bdlib.types import Batch


def training(profile: str, *, steps: int = 60, turns: int = 5, workers: int = 2) -> Iterator[Row]:
    """The loop, the bare step and the conventional pipeline, turn by turn in one process, for each network."""
    for name in NETWORKS[profile]:
        config = config_of(profile, model=name, victim_epochs=1)
        poisoned = poisoned_set(config).data
        data = poisoned[torch.arange(steps * config.victim_batch_size, device=poisoned.labels.device) % len(poisoned)]
        gpu = data.labels.is_cuda
        model = config.untrained().to(data.labels.device, memory_format=torch.channels_last)
        eager = config.untrained().to(data.labels.device)
        loop = partial(train, model, data, config.schedule)
        seconds = interleaved({
            "loop": partial(loop, compiled=gpu),
            "bare": partial(bare, model, list(batches(data, config.victim_batch_size)), config, compiled=gpu),
            "conventional": partial(conventional, eager, loader(data, config, workers)),
        }, turns)  # fmt: skip
        speed = [len(data) / one for one in seconds["loop"]]
        epoch = [len(poisoned) / one for one in speed]
        pipeline = f"images per second, times the conventional pipeline ({workers} workers)"
        yield Row("training", name, "images per second", speed)
        yield Row("training", name, f"seconds an epoch of {len(poisoned):,} images", epoch)
        yield Row("training", name, "time of a step, times the bare step", ratios(seconds["loop"], seconds["bare"]))
        yield Row("training", name, pipeline, ratios(seconds["conventional"], seconds["loop"]))
        yield Row("training", name, "peak memory, GiB", [peak_memory(loop)])


def bare(model: nn.Module, ready: list[Batch], config: VictimConfig, *, compiled: bool) -> None:
    """Forward, backward and update on batches that are ready in memory: no loop with this step can be faster."""
    forward = torch.compile(model) if compiled else model
    optimizer = config.schedule.sgd(model.parameters())
    device = ready[0].labels.device
    half = device.type == "cuda" and torch.cuda.is_bf16_supported()
    model.train()
    for batch in ready:
        optimizer.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            loss = F.cross_entropy(forward(batch.images), batch.labels)
        loss.backward()
        optimizer.step()


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
