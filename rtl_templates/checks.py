"""Argument checks that every constructor shares; messages read "X must be A, not {value!r}"."""

from mxhw.arithmetic import SCALE_BITS, hides_scale
from mxhw.errors import InputError

__all__ = ["require", "require_hidden_scale", "require_lanes", "require_natural"]


def require(condition: bool, name: str, allowed: str, value: object) -> None:
    """Raise InputError "{name} must be {allowed}, not {value!r}" unless ``condition``."""
    if not condition:
        raise InputError(f"{name} must be {allowed}, not {value!r}")


def require_natural(name: str, value: object, smallest: int = 1) -> None:
    """Raise InputError unless ``value`` is an int of at least ``smallest``."""
    valid = isinstance(value, int) and not isinstance(value, bool) and value >= smallest
    require(valid, name, f"an integer of at least {smallest}", value)


def require_lanes(lanes: object, length: int, what: str) -> None:
    """Raise InputError unless ``lanes`` is a natural number that divides ``length``; ``what`` says of what that is."""
    require_natural("lanes", lanes)
    require(length % lanes == 0, "lanes", f"a divisor of the {what} of {length}", lanes)


def require_hidden_scale(group: int, lanes: int, steps: int) -> None:
    """Raise InputError unless a group of weights takes as many cycles as the serial multiplication by its scale."""
    require(
        hides_scale(group, lanes, steps),
        "cycles of a group",
        f"at least the {SCALE_BITS} bits of its scale (group {group}, {lanes} lanes, {steps} terms)",
        group // lanes * steps,
    )
