"""Cut the embedded Fashion-MNIST subset: 12,000 training and 4,000 test images, equally many of every class.

    apt-get install dataset-fashion-mnist        # Debian package, MIT (Expat) licence, Zalando SE
    python scripts/cut_fashion.py

Writes bdlib/assets/fashion.npz (no pickles) and prints its SHA-256, which bdlib/datasets.py holds.
"""

import argparse
import gzip
import hashlib
from pathlib import Path

import numpy as np

SOURCE = Path("/usr/share/datasets/fashion-mnist")
TARGET = Path(__file__).parents[1] / "bdlib" / "assets" / "fashion.npz"
SEED = 20170828  # any fixed number; here the day on which the data set was published


def read(path: Path, header: int) -> np.ndarray:
    """The bytes of an IDX file behind its header."""
    return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=header)


def cut(source: Path, split: str, per_class: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """`per_class` random images of every class, shuffled, with their labels."""
    images = read(source / f"{split}-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28)
    labels = read(source / f"{split}-labels-idx1-ubyte.gz", 8)
    chosen = [rng.permutation(np.flatnonzero(labels == label))[:per_class] for label in range(10)]
    order = rng.permutation(np.concatenate(chosen))
    return {"images": images[order], "labels": labels[order]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", type=Path, default=SOURCE, help="folder of the four IDX files")
    parser.add_argument("--target", type=Path, default=TARGET)
    options = parser.parse_args()
    rng = np.random.default_rng(SEED)
    train, test = cut(options.source, "train", 1200, rng), cut(options.source, "t10k", 400, rng)
    np.savez_compressed(
        options.target,
        train_images=train["images"], train_labels=train["labels"],
        test_images=test["images"], test_labels=test["labels"],
    )  # fmt: skip
    content = options.target.read_bytes()
    print(f"{options.target.name}: {len(content) / 1e6:.2f} MB, SHA-256 {hashlib.sha256(content).hexdigest()}")


if __name__ == "__main__":
    main()
