"""The zoo: victims that are published with the book, so that a defense can be rerun without training any.

zoo/victims.yaml plans them. zoo/manifest.csv lists the files that are there, each with its SHA-256, its settings and
its scores. Weights are in half precision. A planned victim is rounded when it is trained, so that the published file
and the cached one hold the same numbers.
"""

import csv
import io
import itertools
import json
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Annotated

import torch
from filelock import FileLock
from pydantic import BaseModel, Field, ValidationError
from torch import Tensor, nn

from bdlib import folders
from bdlib.data.tensor_files import save_tensors, verified_tensors
from bdlib.evaluation.metrics import Scores
from bdlib.experiments.config import VictimConfig
from bdlib.experiments.keys import victim_name
from bdlib.experiments.pages import read_settings
from bdlib.files import FileError, read_text, write_whole

EXACT = ("running_mean", "running_var", "num_batches_tracked")  # BatchNorm's statistics stay as they are


class ZooRow(BaseModel, frozen=True, extra="forbid"):
    """One line of zoo/manifest.csv: a published victim."""

    file: Annotated[str, Field(pattern=r"^[\w.-]+\.safetensors$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    bytes: Annotated[int, Field(ge=1)]
    dataset: str
    model: str
    attack: str
    poison_rate: Annotated[float, Field(ge=0, le=1)]
    target_label: Annotated[int, Field(ge=0)]
    seed: Annotated[int, Field(ge=0)]
    epochs: Annotated[int, Field(ge=1)]
    clean_accuracy: Annotated[float, Field(ge=0, le=1)]
    asr: Annotated[float, Field(ge=0, le=1)]
    threads: str  # that trained it
    commit: str


def planned() -> list[VictimConfig]:
    """The victims that zoo/victims.yaml plans, in its order; a line stands for all combinations of its lists.

    Raises FileError, or ParameterError for a value that is not allowed.
    """
    path = folders.ZOO / "victims.yaml"
    configs = []
    for lines in read_settings(path).values():
        for line in lines:
            combinations = itertools.product(*line.values())
            configs += [VictimConfig(**dict(zip(line, values, strict=True))) for values in combinations]
    return configs


@cache
def _planned_names(path: Path, changed: int) -> frozenset[str]:
    return frozenset(victim_name(config) for config in planned())


def is_planned(config: VictimConfig) -> bool:
    """Whether a victim belongs to the zoo, published yet or not."""
    path = folders.ZOO / "victims.yaml"
    return path.is_file() and victim_name(config) in _planned_names(path, path.stat().st_mtime_ns)


def zoo_path(config: VictimConfig) -> Path:
    """Where a victim's file in the zoo is, or would be."""
    return folders.ZOO / f"{victim_name(config)}.safetensors"


def published_path(config: VictimConfig) -> Path | None:
    """A victim's file in the zoo, if the manifest lists it and it is there."""
    path = zoo_path(config)
    return path if path.is_file() and path.name in manifest() else None


def halved(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors in half precision, but for BatchNorm's statistics and what is no floating-point number.

    Raises ValueError for a number that half precision does not hold (above 65,504).
    """
    half = {name: tensor if name.endswith(EXACT) or not tensor.is_floating_point() else tensor.half()
            for name, tensor in tensors.items()}  # fmt: skip
    for name, tensor in half.items():
        if not torch.isfinite(tensor).all():
            raise ValueError(f"{name} holds a number that is too large for half precision")
    return half


def round_to_half(module: nn.Module) -> None:
    """Round the weights of `module`, in place, to what the zoo's file will hold."""
    module.load_state_dict(halved(module.state_dict()))


def manifest() -> dict[str, ZooRow]:
    """The published victims, by file name. Raises FileError, which names the line, for what is no row."""
    path = folders.ZOO / "manifest.csv"
    return dict(_manifest(path, path.stat().st_mtime_ns)) if path.is_file() else {}


@cache
def _manifest(path: Path, changed: int) -> dict[str, ZooRow]:
    """As `manifest`; read again when the file's time of change is another."""
    rows = {}
    for number, line in enumerate(csv.DictReader(io.StringIO(read_text(path))), 2):
        try:
            row = ZooRow.model_validate(line)
        except ValidationError as error:
            first = error.errors()[0]
            raise FileError(f"{path}, line {number}: {first['loc'][0]}: {first['msg']}") from None
        rows[row.file] = row
    return rows


def published_tensors(config: VictimConfig) -> dict[str, Tensor] | None:
    """The tensors of a published victim; None where the zoo has none.

    Raises FileError, in one line that names the file, where it is not the one that the manifest lists: it is committed,
    so `git checkout` brings it back.
    """
    if (path := published_path(config)) is None:
        return None
    content = path.read_bytes()
    if sha256(content).hexdigest() != manifest()[path.name].sha256:
        raise FileError(f"{path}: damaged: its SHA-256 is not the one in manifest.csv; fetch the file again")
    return verified_tensors(content, path)


def publish(config: VictimConfig, tensors: Mapping[str, Tensor], scores: Scores, facts: Mapping[str, str]) -> Path:
    """Write a victim's tensors, in half precision, into the zoo, and a line into its manifest; returns the file.

    `facts` are those of its training: `commit` and `threads`.
    """
    metadata = {name: json.dumps(value) for name, value in facts.items()}  # as a cached victim has them
    path = save_tensors(zoo_path(config), halved(tensors), metadata)
    content = path.read_bytes()
    row = ZooRow(
        file=path.name, sha256=sha256(content).hexdigest(), bytes=len(content), dataset=config.dataset,
        model=config.model, attack=config.attack, poison_rate=config.poison_rate, target_label=config.target_label,
        seed=config.seed, epochs=config.victim_epochs, clean_accuracy=scores.clean_accuracy, asr=scores.asr,
        threads=facts["threads"], commit=facts["commit"],
    )  # fmt: skip
    with FileLock(folders.ZOO / ".manifest.lock"):  # others may publish at the same time
        rows = {**manifest(), path.name: row}
        text = io.StringIO()
        writer = csv.DictWriter(text, list(ZooRow.model_fields), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows[name].model_dump() for name in sorted(rows))
        write_whole(folders.ZOO / "manifest.csv", text.getvalue().encode())
    return path
