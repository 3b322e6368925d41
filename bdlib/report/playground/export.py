"""The data of the playgrounds: the book's own victim, its repair and its clean twin, as scripts that assign a global.

A page that is opened as a file may load scripts, but may fetch nothing and import no module.
"""

import base64
import json
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bdlib.data.datasets import CLASS_NAMES
from bdlib.data.images import ImageSet, sample
from bdlib.evaluation.apply_trigger import apply_trigger
from bdlib.evaluation.trigger_analysis import joined, trigger_activated_change
from bdlib.experiments import notebooks
from bdlib.experiments.names import method_name
from bdlib.experiments.run import defend
from bdlib.experiments.victims import load_data, load_trigger, trained_victim
from bdlib.files import write_whole
from bdlib.mechanisms.rnp import backdoor_filters, pruning_sweep
from bdlib.models import predict
from bdlib.report.playground import TWIN, VICTIM
from bdlib.report.playground.folding import fold, packed
from bdlib.types import EventLog

GLOBAL = "bdlibPlaygroundData"  # the scripts' global
IMAGES = 200  # test images in a page, an equal share of every class
REPAIR = "nad"  # the defence in the page
SWEEP = 500  # test images of the recorded course of pruning, as in `bdlib.mechanisms.rnp`
COUNTS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 32, 48, 64, 96, 128, 192)  # filters pruned


def write_data(folder: Path) -> list[Path]:
    """Write the scripts of all playgrounds into `folder`; returns them.

    Victims that are not in the cache are trained first. The repair and the pruning masks are made anew, in half a
    minute on two cores.

    Example: ``write_data(Path("build/playground"))``
    """
    data = {"images": images(), **networks(), "masks": masks()}
    return [write_whole(folder / f"{name}.js", script(name, content)) for name, content in data.items()]


def script(name: str, content: object) -> bytes:
    """A script that puts `content` into the global under `name`."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return f"(globalThis.{GLOBAL} ??= {{}}).{name} = {text};\n".encode()


def read_script(text: str) -> Any:
    """The content of a script that `script` made."""
    return json.loads(text.split(" = ", 1)[1].strip().removesuffix(";"))


@cache
def victim() -> nn.Module:
    """The victim that readers attack, in evaluation mode; trained if it is not in the cache."""
    return trained_victim(VICTIM)


def networks() -> dict[str, dict[str, Any]]:
    """The victim, its repair and the clean twin, each as `network` gives it."""
    repaired = defend(REPAIR, notebooks.parameters(REPAIR, "quick"), victim())
    return {
        "victim": network("victim", victim()),
        "repaired": network(f"after {method_name(REPAIR)}", repaired),
        "twin": network("clean twin", trained_victim(TWIN)),
    }


def network(title: str, model: nn.Module) -> dict[str, Any]:
    """A network for the page: packed weights, its name, and the classes that torch gives the images of `images`.

    `clean` are those of the images as they are, `triggered` those with the attacker's square.
    """
    plain, triggered = _embedded()
    answers = {"clean": predict(model, plain).tolist(), "triggered": predict(model, triggered).tolist()}
    return {"title": title, **packed(fold(model)), **answers}


@cache
def _embedded() -> tuple[ImageSet, ImageSet]:
    """The test images in the page, and the same with the attacker's trigger."""
    plain = sample(load_data(VICTIM)[1], IMAGES)
    return plain, ImageSet(apply_trigger(plain.images, load_trigger(VICTIM)), plain.labels)


def images() -> dict[str, Any]:
    """The test images with their labels, and where the attacker's square is."""
    plain, triggered = _embedded()
    changed = (triggered.images != plain.images).any(0)[0].nonzero()
    top, left = changed.amin(0).tolist()
    return {
        "side": plain.images.shape[-1],
        "pixels": encoded(plain.images),
        "labels": plain.labels.tolist(),
        "names": CLASS_NAMES[VICTIM.dataset],
        "target": VICTIM.target_label,
        "square": {"top": top, "left": left, "size": int(changed[:, 0].amax()) - top + 1},
    }


def encoded(pixels: Tensor) -> str:
    """Bytes as base64 text."""
    return base64.b64encode(pixels.to("cpu", torch.uint8).contiguous().numpy().tobytes()).decode()


def masks() -> dict[str, Any]:
    """RNP on the victim: the order in which filters are pruned, and what that does, by number of pruned filters.

    Filters are counted through the layers, in the network's order. `backdoor` says which are moved most by the trigger;
    `chosen` is the number that the defender's own threshold prunes. `course` is measured on `SWEEP` test images.
    """
    events, model = EventLog(), victim()
    defend("rnp", notebooks.parameters("rnp", "quick"), model, events)
    values, threshold = joined(events["masks"]), events["threshold"]
    test, trigger = sample(load_data(VICTIM)[1], SWEEP), load_trigger(VICTIM)
    others = test[test.labels != VICTIM.target_label]
    backdoor = backdoor_filters(trigger_activated_change(model, others, trigger, list(events["masks"])))
    course = pruning_sweep(model, events["masks"], test, trigger=trigger, target_label=VICTIM.target_label,
                           shares=[count / len(values) for count in COUNTS[1:]])  # fmt: skip
    return {
        "order": values.argsort(stable=True).tolist(),
        "backdoor": backdoor.int().tolist(),
        "layers": {name: len(mask) for name, mask in events["masks"].items()},
        "chosen": int((values <= threshold).sum()),
        "measured_on": len(test),
        "course": course[["pruned", "accuracy", "asr"]].round(4).to_dict("list"),
    }
