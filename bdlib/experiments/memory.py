"""The peak memory of a run: what the GPU allocated, or else the most that the process held (Linux)."""

from pathlib import Path

import torch

CLEAR, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


def reset_peak_memory() -> None:
    """Forget the peak so far, so that a record holds its own run's and not that of runs before in the process.

    Without a GPU it does nothing where the system has no such counter, or refuses.
    """
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        return
    try:
        CLEAR.write_text("5", encoding="ascii")  # proc(5): the peak becomes what is held now
    except OSError:
        pass


def peak_memory() -> dict[str, int]:
    """The peak since the last reset, as a record names it; empty where the system does not tell.

    `peak_memory_bytes` is what PyTorch allocated on the GPU. `peak_process_memory_bytes` is all that the process held:
    libraries, the data set and what earlier runs left in memory are part of it.

    Example: `peak_memory()` is {"peak_process_memory_bytes": 812646400} on a CPU.
    """
    if torch.cuda.is_available():
        return {"peak_memory_bytes": torch.cuda.max_memory_allocated()}
    try:
        lines = STATUS.read_text(encoding="ascii", errors="replace").splitlines()
        kilobytes = next(line.split()[1] for line in lines if line.startswith("VmHWM:"))
        return {"peak_process_memory_bytes": 1024 * int(kilobytes)}
    except (OSError, StopIteration, ValueError, IndexError):
        return {}
