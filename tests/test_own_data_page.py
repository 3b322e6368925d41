"""The page on own data: its code runs as it is, on small data made here, and learns something."""

import re
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image
from toy_task import toy

from bdlib.data.datasets import CLASS_NAMES, DATASETS, OWN
from bdlib.experiments import victims
from bdlib.models import MODELS

PAGE = (Path(__file__).parents[1] / "book" / "own_data.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.S)


@pytest.fixture(autouse=True)
def own_files(tmp_path, monkeypatch):
    """A working folder with the data that the page names, and the process's registries put back afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(victims, "CACHE", tmp_path / "cache")
    Path("signs").mkdir()
    arrays = {}
    for part, count in (("train", 400), ("test", 100)):
        data = toy(count, seed=len(part))
        pictures = data.images.permute(0, 2, 3, 1).numpy()
        for number, (picture, label) in enumerate(zip(pictures, data.labels.tolist(), strict=True)):
            path = Path("flowers", part, f"class {label}", f"{number}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(path)
        files = sorted(Path("flowers", part).rglob("*.png"))
        table = {
            "image": [{"bytes": path.read_bytes()} for path in files],
            "label": [int(p.parent.name[-1]) for p in files],
        }
        pyarrow.parquet.write_table(pyarrow.table(table), f"signs/{part}.parquet")
        arrays |= {f"x_{part}": pictures[..., 0] / 255, f"y_{part}": data.labels.numpy()}
    np.savez("digits.npz", **arrays)
    before = [(registry, dict(registry)) for registry in (DATASETS, CLASS_NAMES, OWN, MODELS)]
    yield
    for registry, kept in before:
        registry.clear()
        registry.update(kept)


def test_the_page_runs_as_it_is(capsys, monkeypatch):
    fast = {"victim_epochs=20": "victim_epochs=2", "victim_epochs=1)": 'victim_epochs=1, dataset="digits")'}
    assert len(BLOCKS) == 4
    for block in BLOCKS:
        assert len([line for line in block.splitlines() if line and not line.startswith(("from", "import"))]) <= 10
        for slow, quick in fast.items():
            block = block.replace(slow, quick)
        exec(block, {})
    scores = [float(word) for word in capsys.readouterr().out.split()[-2:]]
    assert all(0 <= score <= 1 for score in scores)
    assert DATASETS["flowers"].num_classes == 4 and DATASETS["digits"].channels == 1 and "tiny" in MODELS
    assert DATASETS["signs"].counts == (400, 100)
