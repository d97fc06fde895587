"""The peak of a process's own memory."""

from pathlib import Path

__all__ = ["peak"]


def peak() -> int:
    """Return the largest resident memory of this process so far, in bytes.

    Not `ru_maxrss`, which a new process inherits from the one that started it.
    """
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
