"""Formats of a user's own: what a file that registers some (:mod:`mxhw.extensions`) is held to."""

from mxhw.errors import InputError
from mxhw.formats import registry
from mxhw.formats.base import Format

__all__ = ["Families"]

_UNKNOWN = "mxhw-no-such-format"


class Families:
    """The table of formats, for :func:`mxhw.extensions.track`."""

    def state(self) -> list[registry.Family]:
        return list(registry._families)

    def restore(self, state: list[registry.Family]) -> None:
        registry._families[:] = state
        registry._cache.clear()

    def added(self, state: list[registry.Family], where: str) -> list[str]:
        found = registry._families[len(state) :]
        _check(found, state, where)
        return [family.pattern for family in found]


def _check(added: list[registry.Family], before: list[registry.Family], where: str) -> None:
    """Hold what a file registered against what a name promises."""
    for family in added:
        if _parsed(family, _UNKNOWN, where) is not None:
            raise InputError(
                f"{where}: the parser of {family.pattern!r} takes {_UNKNOWN!r} too; it must return None for a name "
                "that is not of its family"
            )
        for name in family.examples or (family.pattern,):
            for other in before:
                if _takes(other, name):
                    raise InputError(f"{where}: {name!r} is a format of {other.pattern!r} already; choose another name")
            found = _parsed(family, name, where)
            if not isinstance(found, Format):
                raise InputError(
                    f"{where}: the parser of {family.pattern!r} does not know the name {name!r}; give names that it "
                    "knows as examples"
                )
            if found.name != name:
                raise InputError(f"{where}: the format called {name!r} says that its name is {found.name!r}")


def _parsed(family: registry.Family, name: str, where: str) -> Format | None:
    try:
        return family.parse(name)
    except Exception as error:
        raise InputError(
            f"{where}: the parser of {family.pattern!r} fails on {name!r}: {type(error).__name__}: {error}"
        ) from error


def _takes(family: registry.Family, name: str) -> bool:
    try:
        return family.parse(name) is not None
    except InputError:
        return True
