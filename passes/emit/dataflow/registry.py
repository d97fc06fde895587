"""What is registered for classes of operations: components, timing, resources, choices of sizes."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from mxhw.arithmetic.dataflow import Folded, Operation
from mxhw.extensions import Table, track

__all__ = ["OperationTable", "members_of", "track_tables"]

EntryT = TypeVar("EntryT")
_tables: list["OperationTable[object]"] = []


class OperationTable(Generic[EntryT]):
    """Entries by class of operations: what holds for a class holds for its subclasses, and a later entry counts.

    An operation that several layers share (:class:`.Folded`) is looked up among those, by the class of its members.
    """

    def __init__(self) -> None:
        self.entries: dict[tuple[bool, type[Operation]], EntryT] = {}
        _tables.append(self)  # type: ignore[arg-type]

    def add(self, *kinds: type[Operation], entry: EntryT, folded: bool = False) -> None:
        """Register an entry for classes; ``folded``: for layers of them that share a unit."""
        self.entries.update(dict.fromkeys(((folded, kind) for kind in kinds), entry))

    def adder(self, *kinds: type[Operation], folded: bool = False) -> Callable[[EntryT], EntryT]:
        """Return a decorator that registers what it is put on."""

        def add(entry: EntryT) -> EntryT:
            self.add(*kinds, entry=entry, folded=folded)
            return entry

        return add

    def find(self, operation: Operation) -> EntryT | None:
        """Return the entry of an operation; None if there is none."""
        folded = isinstance(operation, Folded)
        kind = type(members_of(operation)[0])
        keys = ((folded, each) for each in kind.__mro__)
        return next((self.entries[key] for key in keys if key in self.entries), None)


def members_of(operation: Operation) -> tuple[Any, ...]:
    """Return the operations of the layers that share a unit; of any other operation, that one."""
    return operation.members if isinstance(operation, Folded) else (operation,)


def track_tables() -> None:
    """Let extensions add to all tables that are there now."""
    for table in _tables:
        track(Table(table.entries, lambda key: str(key[1].__name__)))
