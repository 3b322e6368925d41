"""The victims on which a stranger's code is run: the comparison's own, or new ones of own data."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from bdlib.checks import ParameterError
from bdlib.data.images import ImageSet, split
from bdlib.data.own import load_folder, load_parquet, register_dataset
from bdlib.experiments import notebooks
from bdlib.experiments.config import VictimConfig
from bdlib.experiments.victims import victim_path
from bdlib.submissions.outcome import PAGE

PROFILES = {"fashion": "quick", "cifar10": "cifar"}  # whose records are beside the stranger's
IMAGES_PER_SECOND = 1250  # of 28 x 28 pixels, small_resnet on two quiet cores
LEAST_IMAGES = 60_000  # that an own victim's training sees
HELD_OUT = 0.2  # of own data without a test part


@dataclass(frozen=True)
class Place:
    """Where things are run: a data set with the settings of a profile."""

    dataset: str
    profile: str
    victim_epochs: int | None = None  # of own data
    folder: str = ""  # own data's, which the stranger's code may not look into

    @property
    def has_records(self) -> bool:
        """Whether the book has rows to put beside."""
        return not self.folder and self.profile != "smoke"

    @property
    def clean_fraction(self) -> float:
        """The defender's share of the training images."""
        return float(notebooks.parameters(PAGE, self.profile)["clean_fraction"])

    def configs(self, attacks: Sequence[str], seeds: Sequence[int]) -> list[VictimConfig]:
        """The victim of each attack and seed, as the comparison plans it. Raises ParameterError."""
        base = notebooks.parameters(PAGE, self.profile) | {"dataset": self.dataset}
        base |= {"victim_epochs": self.victim_epochs} if self.victim_epochs else {}
        rates = self._rates()
        points = [base | {"attack": attack, "seed": seed} for attack in attacks for seed in seeds]
        return [VictimConfig.from_parameters(point | rates.get(point["attack"], {})) for point in points]

    def _rates(self) -> dict[str, dict[str, float]]:
        """The poison rates of the attacks that have another than the page's, as SIG has."""
        profile = "quick" if self.profile == "smoke" else self.profile
        points = [point for _, point in notebooks.study(PAGE, profile, "baselines")]
        return {point["attack"]: {"poison_rate": point["poison_rate"]} for point in points}


def place_of(on: str, *, size: int = 32, channels: int = 3, smoke: bool = False) -> Place:
    """The place that a name stands for: fashion, cifar10, or the path of a folder or a Parquet file.

    Own data are registered under the name of their folder. Raises ParameterError and DataError, in one line.

    Example: `place_of("flowers", size=32).dataset`
    """
    if on in PROFILES:
        if smoke and on != "fashion":
            raise ParameterError(f"on={on!r}: must be fashion at smoke scale")
        return Place(on, "smoke" if smoke else PROFILES[on])
    path = Path(on)
    if not path.exists():
        raise ParameterError(f"on={on!r}: must be fashion, cifar10, or a folder or Parquet file of images")
    train, test, names = _own(path, size, channels)
    name = re.sub(r"\W", "_", path.absolute().stem)[:32] or "own"
    name = f"own_{name}" if name in PROFILES or name[0] == "_" else name
    register_dataset(name, train, test, class_names=names)
    epochs = 2 if smoke else min(60, max(8, ceil(LEAST_IMAGES / len(train))))
    folder = path.absolute() if path.is_dir() else path.absolute().parent
    return Place(name, "quick", epochs, str(folder))


def _own(path: Path, size: int, channels: int) -> tuple[ImageSet, ImageSet, tuple[str, ...] | None]:
    """The training and the test images at a path, with the names of their classes."""
    files = [path] if path.is_file() else sorted(path.glob("*.parquet"))
    if files:
        parts = [[file for file in files if file.name.startswith(part)] for part in ("train", "test")]
        if all(parts):
            first = load_parquet(*parts[0], size=size, channels=channels)  # type: ignore[arg-type]
            return first, load_parquet(*parts[1], size=size, channels=channels), None  # type: ignore[arg-type]
        whole = load_parquet(*files, size=size, channels=channels)  # type: ignore[arg-type]
    elif (path / "train").is_dir() and (path / "test").is_dir():
        first = load_folder(path / "train", size=size, channels=channels)  # type: ignore[arg-type]
        names = first.class_names
        return first, load_folder(path / "test", size=size, channels=channels, class_names=names), names  # type: ignore[arg-type]
    else:
        whole = load_folder(path, size=size, channels=channels)  # type: ignore[arg-type]
    test, train = split(whole, HELD_OUT, seed=0)
    return train, test, whole.class_names or None


def cost(configs: Sequence[VictimConfig]) -> str:
    """A sentence, before anything is trained: how many victims are missing, and about how long they take."""
    missing = [config for config in configs if not victim_path(config).is_file()]
    if not missing:
        return f"Victims: {len(configs)}, all trained already."
    seconds = 0.0
    for config in missing:
        images = config.facts.counts[0] * config.data_fraction * config.victim_epochs
        seconds += images * (config.facts.size / 28) ** 2 / IMAGES_PER_SECOND
    took = f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} minutes"
    return f"Victims: {len(configs)}; to be trained first: {len(missing)}, in about {took} on two quiet cores."
