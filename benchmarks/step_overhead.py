"""What the training loop costs beyond the training itself.

    python benchmarks/step_overhead.py

Times epochs of bdlib.train on poisoned, augmented data against the bare forward, backward and update on batches that
lie ready, turn by turn in one process, and prints the median ratio. Target: at most 1.10.
"""

import argparse
import statistics
import time

import torch
import torch.nn.functional as F

from bdlib.data import ImageSet, batches
from bdlib.train import train
from bdlib.victims import Recipe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="small_resnet")
    parser.add_argument("--dataset", default="fashion")
    parser.add_argument("--steps", type=int, default=60, help="steps a turn")
    parser.add_argument("--turns", type=int, default=7)
    options = parser.parse_args()
    recipe = Recipe(dataset=options.dataset, model=options.model, victim_epochs=1)
    poisoned = recipe.poisoned().data
    data = poisoned[torch.arange(options.steps * recipe.victim_batch_size) % len(poisoned)]
    ready = list(batches(data, recipe.victim_batch_size))
    model = recipe.untrained().to(data.labels.device, memory_format=torch.channels_last)
    loop, bare = [], []
    for turn in range(options.turns + 1):
        bare.append(seconds_bare(model, ready, recipe))
        loop.append(seconds_loop(model, data, recipe))
        if turn == 0:  # warm-up
            loop.clear(), bare.clear()
    ratios = [one / other for one, other in zip(loop, bare, strict=True)]
    images = len(data) / statistics.median(loop)
    print(f"{options.model} on {options.dataset}, {data.labels.device}, {torch.get_num_threads()} threads")
    print(f"loop {images:,.0f} images/s; bare {len(data) / statistics.median(bare):,.0f} images/s")
    print(f"ratio of a step, loop / bare: {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})")


def seconds_loop(model: torch.nn.Module, data: ImageSet, recipe: Recipe) -> float:
    start = time.perf_counter()
    train(model, data, recipe.schedule)
    synchronise(data.labels.device)
    return time.perf_counter() - start


def seconds_bare(model: torch.nn.Module, ready: list, recipe: Recipe) -> float:
    optimizer = recipe.schedule.sgd(model.parameters())
    device = ready[0].labels.device
    half = device.type == "cuda" and torch.cuda.is_bf16_supported()
    model.train()
    start = time.perf_counter()
    for batch in ready:
        optimizer.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            loss = F.cross_entropy(model(batch.images), batch.labels)
        loss.backward()
        optimizer.step()
    synchronise(device)
    return time.perf_counter() - start


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
