"""The bare step of training: forward, backward and update on batches that are ready in memory."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from bdlib.data.images import ImageSet, batches
from bdlib.experiments.victims import VictimConfig, poisoned_set
from bdlib.runtime import computes_in_half
from bdlib.types import Batch


def turn_of(config: VictimConfig, steps: int) -> ImageSet:
    """The images of a turn: so many whole batches of the poisoned set."""
    poisoned = poisoned_set(config).data
    return poisoned[torch.arange(steps * config.victim_batch_size, device=poisoned.labels.device) % len(poisoned)]


def bare_step(config: VictimConfig, data: ImageSet) -> Callable[[], None]:
    """Trains a new network of the configuration, one bare step for each batch of `data`."""
    model = config.untrained().to(data.labels.device, memory_format=torch.channels_last)
    ready = list(batches(data, config.victim_batch_size))
    return partial(bare, model, ready, config, compiled=data.labels.is_cuda)


def bare(model: nn.Module, ready: list[Batch], config: VictimConfig, *, compiled: bool) -> None:
    """Forward, backward and update on batches that are ready in memory: no loop with this step can be faster."""
    forward = torch.compile(model) if compiled else model
    optimizer = config.schedule.sgd(model.parameters())
    device = ready[0].labels.device
    half = computes_in_half(device)
    model.train()
    for batch in ready:
        optimizer.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            loss = F.cross_entropy(forward(batch.images), batch.labels)
        loss.backward()
        optimizer.step()


def operations(config: VictimConfig, data: ImageSet) -> int:
    """Floating-point operations of the convolutions and matrix products, forward and back, for all of `data`."""
    one = data[: config.victim_batch_size]
    with FlopCounterMode(display=False) as counter:
        bare(config.untrained().to(data.labels.device), list(batches(one, len(one))), config, compiled=False)
    return counter.get_total_flops() * len(data) // len(one)
