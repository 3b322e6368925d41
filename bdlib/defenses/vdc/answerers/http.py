"""An answerer behind an OpenAI-compatible chat endpoint: vLLM, Ollama, a cloud. Its answers are kept on disk.

The images are sent to that endpoint, so think before you name one that is not yours.
"""

import re
import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field
from torch import Tensor
from tqdm import tqdm

from bdlib.checks import ParameterError, checked
from bdlib.defenses.vdc.answerers.chat import Chat
from bdlib.defenses.vdc.answerers.pictures import SIZE, data_uri
from bdlib.defenses.vdc.answerers.protocol import require_answerable
from bdlib.defenses.vdc.answerers.store import Store, image_digest, key_of
from bdlib.folders import CACHE
from bdlib.types import Pixels
from bdlib.words import has_words, shown

Price = Annotated[float, Field(ge=0, allow_inf_nan=False)]  # US dollars for a million tokens
TEXT_TOKENS, ANSWER_TOKENS = 4, 10  # characters of a question for each token; tokens of an answer, both about


@dataclass(frozen=True)
class Estimate:
    """What a call of `answer` will send and cost, before it starts."""

    requests: int  # still to be sent
    cached: int  # on disk already
    dollars: float

    def __str__(self) -> str:
        return f"{self.requests} requests, {self.cached} answers on disk, about ${self.dollars:.2f}"


class HttpAnswerer:
    """Asks the model `model` at `url`, one request for each image and question, at temperature 0.

    Each answer is kept in the folder `cache` by image, question, model and address as soon as it is there: an
    interrupted run goes on where it stopped. `concurrency` requests run at once. The key is read from the variable
    `key_variable`, if it is set, and from nowhere else; it is sent to no address but `url`, over https or to this
    machine. `input_price` and `output_price` are in US dollars for a million tokens, `image_tokens` is what the
    endpoint counts for an image. A run that is estimated to cost more than `budget` dollars does not start.

    Example::

        HttpAnswerer("http://localhost:8000/v1", "Qwen/Qwen2.5-VL-7B-Instruct", concurrency=16)
    """

    @checked
    def __init__(
        self, url: str, model: str, *,
        key_variable: str = "OPENAI_API_KEY",
        concurrency: Annotated[int, Field(ge=1, le=256)] = 4,
        timeout: Annotated[float, Field(gt=0, le=3600)] = 60.0,  # seconds for one request
        retries: Annotated[int, Field(ge=0, le=100)] = 5,  # after a time-out, a 429, a 5xx or a malformed answer
        longest_wait: Annotated[float, Field(gt=0, le=3600)] = 60.0,  # seconds before the next try
        input_price: Price = 0.0, output_price: Price = 0.0, image_tokens: Annotated[int, Field(ge=0)] = 300,
        budget: Price = 10.0, cache: Path = CACHE / "answers", progress: bool = True,
    ) -> None:  # fmt: skip
        self.name, self.concurrency, self.progress, self.budget = model, concurrency, progress, budget
        self.prices, self.image_tokens = (input_price / 1e6, output_price / 1e6), image_tokens
        self.chat = Chat(url, model, key_variable, timeout=timeout, retries=retries, longest_wait=longest_wait)
        name = re.sub(r"[^A-Za-z0-9.-]+", "-", model)[:100]
        self.store = Store(cache / f"{name}-{key_of(url, model).hex()[:8]}.sqlite")

    @checked
    def answer(self, images: Pixels, questions: Sequence[Sequence[str]]) -> list[list[str]]:
        """As `Answerer.answer`. Raises AnswererError; the answers that had come are kept.

        Raises ParameterError, before the first request, where the estimate is over the budget, and StoreError where
        answers could not be kept.
        """
        require_answerable(images, questions)
        digests = [image_digest(image) for image in images]
        keys = [[self._key(d, text) for text in texts] for d, texts in zip(digests, questions, strict=True)]
        tasks = {
            key: (images[n], text) for n, row in enumerate(keys) for key, text in zip(row, questions[n], strict=True)
        }
        found = self.store.read(tasks)
        missing = {key: task for key, task in tasks.items() if key not in found}
        estimate = self._estimate([text for _, text in missing.values()], len(found))
        if estimate.dollars > self.budget:
            raise ParameterError(f"budget={self.budget!r}: must be at least the estimate: {estimate}")
        if missing:
            found |= self._fetch(missing, estimate)
        return [[found[key].decode() for key in row] for row in keys]

    @checked
    def estimate(self, images: Pixels, questions: Sequence[Sequence[str]]) -> Estimate:
        """What `answer` would send and cost for the same arguments."""
        require_answerable(images, questions)
        keys = {self._key(image_digest(image), text): text
                for image, texts in zip(images, questions, strict=True) for text in texts}  # fmt: skip
        found = self.store.read(keys)
        return self._estimate([text for key, text in keys.items() if key not in found], len(found))

    @checked
    def ask(self, text: str) -> str:
        """The model's answer to a text without an image; kept as the others are."""
        if not has_words(text):
            raise ParameterError(f"text={shown(text)}: must be text with a word in it")
        key = self._key(b"", text)
        found = self.store.read([key])
        if not found:
            self.store.write({})  # rather now than after the answer is paid for
            found = {key: self.chat.complete([{"type": "text", "text": text}]).encode()}
            self.store.write(found)
        return found[key].decode()

    def _estimate(self, texts: list[str], cached: int) -> Estimate:
        into, out = self.prices
        tokens = sum(self.image_tokens + len(text) / TEXT_TOKENS for text in texts)
        return Estimate(len(texts), cached, tokens * into + len(texts) * ANSWER_TOKENS * out)

    def _key(self, digest: bytes, text: str) -> bytes:
        return key_of(digest, text, self.chat.model, self.chat.url, str(SIZE))

    def _fetch(self, missing: dict[bytes, tuple[Tensor, str]], estimate: Estimate) -> dict[bytes, bytes]:
        """The answers that are not on disk. At the first error no further request is sent."""
        found, unsaved, stopped = dict[bytes, bytes](), dict[bytes, bytes](), threading.Event()
        self.store.write({})  # rather now than after the answers are paid for
        bar = tqdm(total=len(missing), desc=f"{self.name}: {estimate}", disable=not self.progress, leave=False)
        with ThreadPoolExecutor(self.concurrency) as pool, bar:
            waiting: dict[Future[str], bytes] = {}
            todo = iter(missing.items())
            try:
                while True:
                    for key, (image, text) in todo:
                        waiting[pool.submit(self._one, image, text, stopped)] = key
                        if len(waiting) >= 2 * self.concurrency:
                            break
                    if not waiting:
                        return found
                    for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                        unsaved[waiting.pop(future)] = future.result().encode()
                        bar.update()
                    self.store.write(unsaved)
                    found, unsaved = found | unsaved, {}
            finally:
                stopped.set()
                self.store.write(unsaved | _finished(waiting))

    def _one(self, image: Tensor, text: str, stopped: threading.Event) -> str:
        picture = {"type": "image_url", "image_url": {"url": data_uri(image)}}
        return self.chat.complete([picture, {"type": "text", "text": text}], stopped)


def _finished(waiting: dict[Future[str], bytes]) -> dict[bytes, bytes]:
    """The answers among `waiting` that have come; the others are no longer waited for, but for those under way."""
    kept: dict[bytes, bytes] = {}
    for future, key in waiting.items():
        if not future.cancel():
            try:
                kept[key] = future.result().encode()
            except Exception:  # the first error is the one that is raised
                continue
    return kept
