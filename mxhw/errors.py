"""Errors that a user can cause and mend: one line that says what, where, what was given and what is allowed.

The command line turns an :class:`InputError` into its message and exit code 2; anything else is a fault of ours and
keeps its traceback. This module imports nothing of ours, so every room may use it.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from importlib.util import find_spec

__all__ = ["InputError", "MissingToolError", "MxhwWarning", "nearest", "require_extra"]


class InputError(ValueError):
    """Something that was given (a name, a file, a number) is not what is allowed."""


class MissingToolError(InputError):
    """A program or package outside Python that a step needs is absent; the message says how to get it."""


class MxhwWarning(UserWarning):
    """Something that works, but not as well as it could; the command line shows it as one line."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the known name closest to ``name``, or an empty string."""
    close = get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def require_extra(package: str, extra: str, purpose: str) -> None:
    """Raise a MissingToolError that names mxhw's `extra` if `package`, needed for `purpose`, is not installed."""
    if find_spec(package) is None:
        raise MissingToolError(f"{purpose}: package {package} is needed and not installed: pip install 'mxhw[{extra}]'")
