"""Passes over captured graphs: analysis, transformation, search and emission."""

from importlib import import_module

from mxhw.passes.base import CAPTURED, Pass, PassResult, Pipeline, register_pass, registered_passes

__all__ = ["CAPTURED", "Pass", "PassResult", "Pipeline", "all_passes", "register_pass"]

_ROOMS = ("analysis", "transform", "search", "emit")


def all_passes() -> list[type[Pass]]:
    """Return every pass of mxhw and of packages that registered theirs, sorted by name."""
    for room in _ROOMS:
        import_module(f"mxhw.passes.{room}")
    return registered_passes()
