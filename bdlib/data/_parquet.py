"""Labeled images in Parquet files, in the layout that Hugging Face uses: encoded images, and a column of labels."""

import io
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import torch

from bdlib.data._cached import cached
from bdlib.data._files import DataError, decode, in_one_line, read_sums, read_verified, stack
from bdlib.data.images import ImageSet
from bdlib.runtime import digest

ASSETS = Path(__file__).parent / "assets"
IMAGES, LABELS = ("image", "img"), ("label", "fine_label")


def read_parquet(folder: Path, part: str, version: int = 1) -> ImageSet:
    """All images of `<part>*.parquet`, in file order. Every file must have a known SHA-256.

    Known are the files listed in bdlib/assets/SHA256SUMS, and those in a SHA256SUMS file inside `folder`. Decoding
    tens of thousands of PNG files takes a process half a minute, so the pixels are kept in the cache. A new
    `version` of what makes them leaves those of older ones alone.
    """
    paths = sorted(folder.glob(f"{part}*.parquet"))
    if not paths:
        raise DataError(f"{folder}: no {part}*.parquet; put the Parquet files there, or unset BDLIB_DATA")
    known = known_sums(folder)
    contents = {path: read_verified(path, known) for path in paths}
    key = digest([known[path.name] for path in paths], version)
    return cached(f"{folder.name}-{part}-{key}", lambda: (_decoded(contents),))[0]


def known_sums(folder: Path) -> dict[str, str]:
    return read_sums(ASSETS / "SHA256SUMS", prefix=f"{folder.name}/") | read_sums(folder / "SHA256SUMS")


def _decoded(contents: dict[Path, bytes]) -> ImageSet:
    """The images of Parquet files. Raises DataError, which names file and column."""
    images: list[np.ndarray] = []
    labels: list[int] = []
    for path, content in contents.items():
        rows = read_rows(content, str(path))
        for number, encoded in enumerate(rows.images):
            images.append(decode(encoded, f"{path}, column image, row {number}"))
            if images[-1].shape != images[0].shape:
                raise DataError(f"{path}, column image, row {number}: has the shape {images[-1].shape}, "
                                f"the first image {images[0].shape}")  # fmt: skip
        labels += rows.labels
    if not images:
        raise DataError(f"{next(iter(contents))}: holds no images")
    return ImageSet(stack(images), torch.tensor(labels))


class Rows(NamedTuple):
    """What a file holds."""

    images: list[bytes]  # encoded, as PNG or otherwise
    labels: list[int]
    class_names: tuple[str, ...]  # empty where the file does not name them


def read_rows(content: bytes, where: str) -> Rows:
    """The rows of a Parquet file, in their order.

    Raises DataError, in one line that begins with `where` and names the column, for anything that is not as it should.
    """
    try:
        table = parquet.read_table(io.BytesIO(content))
        table.validate(full=True)
        image, label = _column(table, IMAGES, where), _column(table, LABELS, where)
        images = _encoded(table[image], f"{where}, column {image}")
        return Rows(images, _whole(table[label], f"{where}, column {label}"), _class_names(table.schema, label))
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise DataError(f"{where} is not a Parquet file that can be read ({in_one_line(error)[:200]})") from error


def _column(table: pa.Table, names: tuple[str, ...], where: str) -> str:
    columns = [name for name in names if table.column_names.count(name) == 1]
    if not columns:
        raise DataError(f"{where}: no column {names[0]}; it has {', '.join(table.column_names) or 'none'}")
    return columns[0]


def _encoded(column: pa.ChunkedArray, where: str) -> list[bytes]:
    """The bytes of each image: the column itself, or its field `bytes`."""
    kind = column.type
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        column = pa.chunked_array([chunk.field("bytes") if not chunk.null_count else _bytes_of(chunk)
                                   for chunk in column.chunks], type=kind.field("bytes").type)  # fmt: skip
    if not (pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)):
        raise DataError(f"{where}: holds {kind}, not the bytes of encoded images")
    _refuse_nulls(column, where)
    return column.to_pylist()


def _bytes_of(chunk: pa.StructArray) -> pa.Array:
    """The field `bytes`, empty also where the whole row is."""
    return pa.array([row and row["bytes"] for row in chunk.to_pylist()], type=chunk.type.field("bytes").type)


def _whole(column: pa.ChunkedArray, where: str) -> list[int]:
    if not pa.types.is_integer(column.type):
        raise DataError(f"{where}: holds {column.type}, not whole numbers that count from 0")
    _refuse_nulls(column, where)
    numbers: list[int] = column.to_pylist()
    for row, number in enumerate(numbers):
        if not 0 <= number < 1_000_000:
            raise DataError(f"{where}: row {row} holds {number}, not a whole number that counts from 0")
    return numbers


def _refuse_nulls(column: pa.ChunkedArray, where: str) -> None:
    if column.null_count:
        raise DataError(f"{where}: row {column.is_null().to_pylist().index(True)} is empty")


def _class_names(schema: pa.Schema, label: str) -> tuple[str, ...]:
    """The names that Hugging Face keeps beside the labels; none where they are not there."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        names = features[label]["names"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ()
    return tuple(names) if isinstance(names, list) and all(isinstance(name, str) for name in names) else ()
