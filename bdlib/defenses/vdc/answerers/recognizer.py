"""The offline default: an image recogniser, not a multimodal language model, which answers from its probabilities."""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor

from bdlib.checks import ParameterError, checked
from bdlib.defenses.vdc.answerers.efficientnet import CLASSES, SIZE, WEIGHTS, load_recognizer
from bdlib.defenses.vdc.answerers.protocol import require_answerable
from bdlib.defenses.vdc.answerers.store import Store, image_digest, key_of
from bdlib.defenses.vdc.questions import GENERAL, YES_OR_NO, shipped
from bdlib.folders import CACHE
from bdlib.types import Pixels
from bdlib.words import shown

NAMED = (1, 3)  # words in the answers to the two general questions: the main object; everything it may show
PIECE, BATCH = 200, 4  # images whose probabilities are written together; images in a batch: more take longer on a CPU
CachePath = Annotated[Path | None, Field(description="a Path, or None")]


class RecognizerAnswerer:
    """EfficientNet-Lite0 with the words of questions.yaml. It reads no question: it looks its text up in that file.

    To a specific question it says yes if the ImageNet classes behind the question are more probable than under a blind
    guess, which gives each of the 1,000 classes the same share. To a general one it names the word, or the three words,
    of which this is most true. Nothing in these rules was fitted to images.

    Images have three channels and any size, and are enlarged to 224 pixels (bicubic). Their probabilities are kept in
    `cache`, rounded to 16 bits; None keeps nothing.

    Example: `RecognizerAnswerer().answer(images, [[GENERAL[0]]] * len(images))`
    """

    name = "image recogniser, not a multimodal language model"

    @checked
    def __init__(self, cache: CachePath = CACHE / "answers" / "recognizer.sqlite") -> None:
        entries = {word: entry for word, entry in shipped().items() if "imagenet" in entry}
        self.network, self.store = load_recognizer(), Store(cache) if cache else None
        self.made_by = sha256(WEIGHTS.read_bytes()).digest()
        self.words = list(entries)
        classes = torch.stack([classes_of(entry["imagenet"]) for entry in entries.values()]).float()
        self.word_weights = classes / classes.sum(1, keepdim=True)
        parts = [part for entry in entries.values() for part in entry["specific"]]
        self.behind = {f"{part['ask']} {YES_OR_NO}": classes_of(part["imagenet"]) for part in parts}

    @checked
    def answer(self, images: Pixels, questions: Sequence[Sequence[str]]) -> list[list[str]]:
        """As `Answerer.answer`. Raises ParameterError for gray images and for a question that it does not know."""
        require_answerable(images, questions)
        for text in {text for texts in questions for text in texts}:
            if text not in self.behind and text not in GENERAL:
                raise ParameterError(f"questions: {shown(text)}: the image recogniser does not know this question")
        found = self.probabilities(images)
        best = (found @ self.word_weights.T).argsort(dim=1, descending=True, stable=True)
        return [[self._one(text, chances, order) for text in texts]
                for texts, chances, order in zip(questions, found, best.tolist(), strict=True)]  # fmt: skip

    def _one(self, text: str, chances: Tensor, best: list[int]) -> str:
        if text in GENERAL:
            return f"It may show: {', '.join(self.words[n] for n in best[: NAMED[GENERAL.index(text)]])}."
        classes = self.behind[text]
        return "Yes." if chances[classes].sum() > classes.sum() / CLASSES else "No."

    @torch.no_grad()
    def probabilities(self, images: Pixels) -> Float[Tensor, "n 1000"]:
        """The probability of each class of ImageNet for each image, from the cache where it is there."""
        require_images_of_three_channels(images)
        keys = [key_of(image_digest(image), self.made_by) for image in images.cpu()]
        found = self.store.read(keys) if self.store else {}
        missing = [n for n, key in enumerate(keys) if key not in found]
        for part in torch.tensor(missing, dtype=torch.int64).split(PIECE) if missing else ():
            halves = torch.cat([self._look(images[ids.to(images.device)]) for ids in part.split(BATCH)]).numpy()
            new = {keys[n]: row.tobytes() for n, row in zip(part.tolist(), halves, strict=True)}
            found |= new
            if self.store:
                self.store.write(new)
        rows = np.stack([np.frombuffer(found[key], np.float16) for key in keys])
        return torch.from_numpy(rows.astype(np.float32))

    def _look(self, images: Pixels) -> Tensor:
        """The probabilities of one batch, on the CPU and rounded to 16 bits."""
        large = F.interpolate(images.float() / 255, size=(SIZE, SIZE), mode="bicubic").clamp(0, 1)
        network = self.network.to(images.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return network(large.contiguous(memory_format=torch.channels_last)).softmax(1).half().cpu()


def require_images_of_three_channels(images: Pixels) -> None:
    """Raise ParameterError for anything but images of three channels, at least one."""
    if images.ndim != 4 or images.shape[1] != 3 or not len(images):
        raise ParameterError(f"images: {shown(images)}: the image recogniser needs images of three channels")


def classes_of(numbers: int | str) -> Bool[Tensor, " 1000"]:
    """Which classes of ImageNet a text such as "404-405, 812" stands for."""
    marked = torch.zeros(CLASSES, dtype=torch.bool)
    for part in str(numbers).split(","):
        first, _, last = part.partition("-")
        marked[int(first) : int(last or first) + 1] = True
    return marked
