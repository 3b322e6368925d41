"""The same folders, refused by the kernel: Landlock, which Linux has since 5.13, also sees what libraries open in C.

A process may give up rights for good, for itself and all that it starts; it needs no privileges for that.
https://docs.kernel.org/userspace-api/landlock.html
"""

import ctypes
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress

CREATE, ADD, RESTRICT = 444, 445, 446  # system calls, the same on all processors
NO_NEW_PRIVILEGES, PATH_BENEATH, VERSION = 38, 1, 1
READ_FILE, READ_FOLDER = 1 << 2, 1 << 3
WRITE = (1 << 1) | sum(1 << bit for bit in range(4, 13))  # write files, make and remove files and folders
HANDLED = (1 << 13) - 1  # of files, all that the first version knows, starting programs among them
TCP = 0b11  # to bind and to connect
OPENED = os.O_CLOEXEC | getattr(os, "O_PATH", 0)


def restrict(forbidden: Sequence[str], writable: Sequence[str], readable: Sequence[str]) -> bool:
    """From now on this thread, and what it starts, reads no file in `forbidden`, writes only in `writable`, starts no
    program and opens no TCP connection; False, and nothing is changed, where the kernel cannot do that.

    `readable` are read also inside a forbidden folder.

    Example: `restrict(["/data"], ["/tmp/work"], [])`
    """
    if sys.platform != "linux":
        return False
    kernel = ctypes.CDLL(None, use_errno=True)
    version = kernel.syscall(CREATE, None, ctypes.c_size_t(0), VERSION)
    if version < 1:
        return False
    attributes = (ctypes.c_uint64 * 2)(HANDLED, TCP)
    rules = kernel.syscall(CREATE, attributes, ctypes.c_size_t(16 if version >= 4 else 8), 0)
    if rules < 0:
        return False
    try:
        _allow(kernel, rules, "/", READ_FOLDER)
        holes = {os.path.realpath(place) for place in forbidden}
        for root in ("/", *map(os.path.realpath, readable)):
            for path in _around(root, holes):
                _allow(kernel, rules, path, READ_FILE)
        for path in (*writable, "/dev/shm", "/dev"):
            _allow(kernel, rules, path, READ_FILE | (WRITE if path != "/dev" else 1 << 1))
        done = kernel.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0) == 0
        return done and kernel.syscall(RESTRICT, rules, 0) == 0
    finally:
        os.close(rules)


def _around(folder: str, holes: set[str]) -> Iterator[str]:
    """Paths that together hold all of a folder but the `holes`."""
    inside = {hole for hole in holes if hole == folder or hole.startswith(folder.rstrip("/") + "/")}
    if not inside:
        yield folder
    elif folder not in inside:
        with suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                if not entry.is_symlink():
                    yield from _around(entry.path, inside)


def _allow(kernel: ctypes.CDLL, rules: int, path: str, access: int) -> None:
    """Add a rule; a path that is not there, or of another kind, has none."""
    with suppress(OSError):
        place = os.open(path, OPENED)
        try:
            rule = access.to_bytes(8, sys.byteorder) + place.to_bytes(4, sys.byteorder)
            kernel.syscall(ADD, rules, PATH_BENEATH, ctypes.create_string_buffer(rule, len(rule)), 0)
        finally:
            os.close(place)
