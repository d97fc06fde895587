"""What a pass is: what it needs, what it adds, a typed frozen config, a result; and how passes form a pipeline.

A pass takes a graph and returns a new one with a report. It never changes the graph that it was given, never prints,
and raises errors that name the node, the site and the number that does not fit. Passes are registered by type, so a
user's own package adds one with the decorator :func:`register_pass`; `mxhw passes` lists what is registered.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

from mxhw.errors import InputError
from mxhw.ir import Graph

__all__ = ["CAPTURED", "Pass", "PassResult", "Pipeline", "register_pass", "registered_passes"]

CAPTURED = frozenset({"sites"})  # what a freshly captured graph has


@dataclass(frozen=True)
class PassResult:
    """A graph, and what the pass has to say about it (numbers and names, ready for JSON)."""

    graph: Graph
    report: Mapping[str, Any] = field(default_factory=dict)


class Pass(ABC):
    """One step from graph to graph.

    A pass is made from its frozen config, may be called any number of times, and keeps nothing between calls but
    caches that cannot change its results.

    Attributes
    ----------
    name, description : str
        The name in lists and reports; one line on what it does.
    requires, provides : frozenset of str
        Metadata that must exist, metadata that the pass adds.
    """

    name: ClassVar[str]
    description: ClassVar[str]
    requires: ClassVar[frozenset[str]] = frozenset()
    provides: ClassVar[frozenset[str]] = frozenset()

    @abstractmethod
    def __call__(self, graph: Graph) -> PassResult:
        """Return a new graph and a report; the given graph is untouched."""


_PassType = TypeVar("_PassType", bound=type[Pass])
_REGISTRY: dict[type[Pass], None] = {}


def register_pass(kind: _PassType) -> _PassType:
    """Add a class of passes to the registry (a decorator).

    Raises
    ------
    InputError
        If it lacks a name or a one-line description, or another class has its name.
    """
    for attribute in ("name", "description"):
        text = getattr(kind, attribute, "")
        if not isinstance(text, str) or not text or "\n" in text:
            raise InputError(f"pass {kind.__name__} needs a one-line {attribute!r}, not {text!r}")
    for other in _REGISTRY:
        if other.name == kind.name and other is not kind:
            raise InputError(f"pass name {kind.name!r} of {kind.__name__} is taken by {other.__name__}")
    _REGISTRY[kind] = None
    return kind


def registered_passes() -> list[type[Pass]]:
    """Return the registered classes by name."""
    return sorted(_REGISTRY, key=lambda kind: kind.name)


class Pipeline:
    """Passes in order, each of which finds what it requires.

    Parameters
    ----------
    passes : sequence of Pass
    available : iterable of str
        Metadata that the first graph has; that of a captured graph by default.

    Raises
    ------
    InputError
        If a pass requires what neither the graph has nor an earlier pass provides.
    """

    def __init__(self, passes: Sequence[Pass], available: Iterable[str] = CAPTURED) -> None:
        self.passes = tuple(passes)
        have = set(available)
        for position, step in enumerate(self.passes, start=1):
            if missing := step.requires - have:
                raise InputError(
                    f"pass {position} ({step.name!r}) requires {', '.join(sorted(missing))}, which nothing before it "
                    f"provides (there is: {', '.join(sorted(have)) or 'nothing'})"
                )
            have |= step.provides
        self.provides = frozenset(have)

    def __call__(self, graph: Graph) -> PassResult:
        """Run all passes; the report maps each pass's name to its own report."""
        reports: dict[str, Any] = {}
        for step in self.passes:
            result = step(graph)
            graph = result.graph
            reports[step.name] = result.report
        return PassResult(graph, reports)
