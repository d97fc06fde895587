"""What every operation of an integer graph says of itself."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from mxhw.arithmetic.dataflow.streams import StreamType

__all__ = ["Operation"]


class Operation(ABC):
    """One operation, every bit defined: frozen, compared by identity, with the streams that it takes and gives.

    A user's own operation subclasses this; a component is registered for the class
    (:func:`mxhw.passes.emit.dataflow.register_component`).

    Attributes
    ----------
    kind : what reports and emitted modules call it; a Verilog identifier.
    """

    kind: ClassVar[str]

    @property
    @abstractmethod
    def inputs(self) -> tuple[StreamType, ...]:
        """The streams that it takes, in the order of :meth:`run`."""

    @property
    @abstractmethod
    def output(self) -> StreamType:
        """The stream that it gives."""

    @abstractmethod
    def run(self, *values: Any) -> Any:
        """Return the value of ``output`` for values of ``inputs``."""
