"""A vision-language model in a local folder, run by the library transformers (`pip install "bdlib[vlm]"`)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
from PIL import Image
from pydantic import Field
from torch import Tensor

from bdlib.checks import ParameterError, checked
from bdlib.data import _torchvision  # noqa: F401 -- transformers imports torchvision, which needs help first
from bdlib.defenses.vdc.answerers.pictures import SIZE
from bdlib.defenses.vdc.answerers.protocol import require_answerable
from bdlib.runtime import best_device
from bdlib.types import Pixels


class TransformersAnswerer:
    """The model and the processor saved in `folder`, decoding greedily, at most `longest` tokens an answer.

    Nothing is downloaded, no code in the folder runs, and only safetensors weights are read. Images smaller than 224
    pixels are enlarged (bicubic). Raises ParameterError where the folder holds no such model.

    Example: `TransformersAnswerer(Path("Qwen2.5-VL-7B-Instruct"))`
    """

    @checked
    def __init__(
        self, folder: Path, *, batch_size: Annotated[int, Field(ge=1, le=1024)] = 8,
        longest: Annotated[int, Field(ge=1, le=4096)] = 64,
    ) -> None:  # fmt: skip
        self.name, self.batch_size, self.longest = folder.resolve().name, batch_size, longest
        self.processor, self.model = load_local(folder)

    @checked
    def answer(self, images: Pixels, questions: Sequence[Sequence[str]]) -> list[list[str]]:
        """As `Answerer.answer`; equal arguments give equal answers."""
        require_answerable(images, questions)
        pictures = [_enlarged(image) for image in images]
        pairs = [(picture, text) for picture, texts in zip(pictures, questions, strict=True) for text in texts]
        starts = range(0, len(pairs), self.batch_size)
        found = iter([text for n in starts for text in self._batch(pairs[n : n + self.batch_size])])
        return [[next(found) for _ in texts] for texts in questions]

    @torch.no_grad()
    def _batch(self, pairs: list[tuple[Image.Image, str]]) -> list[str]:
        prompts = [self._prompt(text) for _, text in pairs]
        inputs = self.processor(
            images=[[picture] for picture, _ in pairs], text=prompts, return_tensors="pt", padding=True
        )
        inputs = inputs.to(self.model.device)
        made = self.model.generate(**inputs, max_new_tokens=self.longest, do_sample=False)
        return list(self.processor.batch_decode(made[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True))

    def _prompt(self, text: str) -> str:
        content = [{"type": "image"}, {"type": "text", "text": text}]
        return self.processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)


def load_local(folder: Path) -> tuple[Any, Any]:
    """Processor and model of a local folder, in evaluation mode on the best device. Raises ParameterError."""
    try:
        from transformers import AutoModelForImageTextToText, AutoProcessor
    except ImportError as error:
        raise ParameterError(
            f"folder={str(folder)!r}: needs transformers: pip install 'bdlib[vlm]' ({error})"
        ) from None
    if not (folder / "config.json").is_file():
        raise ParameterError(f"folder={str(folder)!r}: must be a folder with a model as transformers saves it")
    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        processor = AutoProcessor.from_pretrained(folder, **options)
        model: Any = AutoModelForImageTextToText.from_pretrained(folder, use_safetensors=True, **options)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ParameterError(f"folder={str(folder)!r}: no vision-language model in it: {reason}") from None
    if tokenizer := getattr(processor, "tokenizer", None):
        tokenizer.padding_side = "left"  # an answer follows the last token of its question
    return processor, model.to(best_device()).eval()


def _enlarged(image: Tensor) -> Image.Image:
    pixels: Any = image.cpu().permute(1, 2, 0).squeeze(2).numpy()
    picture = Image.fromarray(pixels).convert("RGB")
    return picture.resize((SIZE, SIZE), Image.Resampling.BICUBIC) if max(picture.size) < SIZE else picture
