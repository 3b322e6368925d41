"""Answers on disk, so that none is asked for twice: one SQLite file for each answerer, shared by processes."""

import os
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from bdlib.words import OneLineError

TABLE = "CREATE TABLE IF NOT EXISTS answers (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID"


class StoreError(OneLineError, RuntimeError):
    """A file of answers cannot be read or written."""


def image_digest(image: Tensor) -> bytes:
    """Of the bytes of one stored image and of its shape."""
    return sha256(f"{tuple(image.shape)}".encode() + np.ascontiguousarray(image.cpu().numpy()).tobytes()).digest()


def key_of(*parts: bytes | str) -> bytes:
    """A digest that stands for all parts, such as image, question and model."""
    return sha256(b"".join(sha256(p.encode() if isinstance(p, str) else p).digest() for p in parts)).digest()


class Store:
    """Values by key. Each call is one transaction, so an interrupted run keeps what it had written.

    Example: `Store(CACHE / "answers" / "qwen.sqlite").read([key])`
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """The values that are there. Raises StoreError for a file that is none of ours."""
        wanted, found = list(dict.fromkeys(keys)), dict[bytes, bytes]()
        if not os.path.exists(self.path):
            return found
        for start in range(0, len(wanted), 500):  # SQLite bounds the number of variables
            part = wanted[start : start + 500]
            marks = ",".join("?" * len(part))
            found |= dict(self._run(f"SELECT key, value FROM answers WHERE key IN ({marks})", [part]))
        return found

    def write(self, values: Mapping[bytes, bytes]) -> None:
        """Add values, in one transaction. Raises StoreError where the file cannot be written."""
        self._run("INSERT OR REPLACE INTO answers VALUES (?, ?)", list(values.items()))

    def _run(self, statement: str, rows: list[Any]) -> list[tuple[bytes, bytes]]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self.path, timeout=60)) as connection, connection:
                connection.execute(TABLE)
                if statement.startswith("SELECT"):
                    return connection.execute(statement, rows[0]).fetchall()
                connection.executemany(statement, rows)
                return []
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"{self.path}: {error}") from None
