"""Argument checks that every constructor shares; messages read "X must be A, not {value!r}"."""

from mxhw.errors import InputError

__all__ = ["require", "require_natural"]


def require(condition: bool, name: str, allowed: str, value: object) -> None:
    """Raise InputError "{name} must be {allowed}, not {value!r}" unless ``condition``."""
    if not condition:
        raise InputError(f"{name} must be {allowed}, not {value!r}")


def require_natural(name: str, value: object, smallest: int = 1) -> None:
    """Raise InputError unless ``value`` is an int of at least ``smallest``."""
    valid = isinstance(value, int) and not isinstance(value, bool) and value >= smallest
    require(valid, name, f"an integer of at least {smallest}", value)
