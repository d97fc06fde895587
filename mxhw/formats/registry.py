"""Names to formats: every family registers a pattern, a description and a parser; users may register their own."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from mxhw.errors import InputError, nearest
from mxhw.formats.base import Format

__all__ = ["Family", "known_formats", "parse_format", "register_format"]


@dataclass(frozen=True)
class Family:
    """A family: how its names are formed, what it is, its parser, and names to suggest."""

    pattern: str
    description: str
    parse: Callable[[str], Format | None]
    examples: tuple[str, ...]


_families: list[Family] = []
_cache: dict[str, Format] = {}


def register_format(
    pattern: str, description: str, parse: Callable[[str], Format | None], examples: Iterable[str] = ()
) -> None:
    """Make a family of formats known to :func:`parse_format`.

    Parameters
    ----------
    pattern : str
        A name, or how names are formed, for people: ``"mxint2..8"``.
    description : str
        One line.
    parse : callable
        Gets a name; returns its format, or None if the name is not of this family. It may raise
        :class:`~mxhw.errors.InputError` for a name that is of this family but out of range.
    examples : iterable of str
        Names to suggest to whoever mistypes one.

    Raises
    ------
    InputError
        If ``pattern`` is registered already.
    """
    if any(family.pattern == pattern for family in _families):
        raise InputError(f"format {pattern!r} is registered already; choose another name")
    _families.append(Family(pattern, description, parse, tuple(examples)))
    _cache.clear()


def parse_format(name: str | Format) -> Format:
    """The format called ``name`` (a format is returned as it is); equal names give the same object.

    Raises
    ------
    InputError
        If no family knows the name; the message has the nearest known one.
    """
    if isinstance(name, Format):
        return name
    if name not in _cache:
        _cache[name] = _parse(name)
    return _cache[name]


def known_formats() -> list[tuple[str, str]]:
    """(name or pattern, one-line description) of every family."""
    return [(family.pattern, family.description) for family in _families]


def _parse(name: str) -> Format:
    for family in _families:
        found = family.parse(name)
        if found is not None:
            return _cache.setdefault(found.name, found)
    examples = [example for family in _families for example in family.examples or (family.pattern,)]
    patterns = ", ".join(family.pattern for family in _families)
    raise InputError(
        f"unknown format {name!r}{nearest(name, examples)}; known: {patterns}; a format of your own "
        "needs its file named: --extension FILE"
    )
