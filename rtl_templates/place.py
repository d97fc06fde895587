"""How a component is put into a design: as a submodule in simulation, as an instance of one shared module in Verilog.

Amaranth emits one module per submodule; an array of equal elements would repeat its text. An emission platform (see
:mod:`mxhw.rtl_templates.emission`) emits each kind once and instantiates it.
"""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from amaranth.hdl import Module
from amaranth.lib import wiring

__all__ = ["CollectsMemoryFiles", "ReadsMemoryFiles", "SharesModules", "place"]


@runtime_checkable
class SharesModules(Protocol):
    """A platform that emits a component once and instantiates it where it is placed."""

    def instance(self, kind: str, component: wiring.Component) -> Any:
        """Return an ``Instance`` that drives and reads the ports of ``component``."""


@runtime_checkable
class ReadsMemoryFiles(Protocol):
    """A platform whose memories are instances of the hand-written Verilog; read-only ones read hex files."""

    reads_memory_files: bool


@runtime_checkable
class CollectsMemoryFiles(Protocol):
    """A platform that wants to know which hex files the memories of a design read."""

    def memory_file(self, file: str, width: int, depth: int, words: Sequence[int]) -> None:
        """Take note of a read-only memory; ``words`` are those that it was made with, if any."""


def place(m: Module, kind: str, index: str, component: wiring.Component, platform: Any) -> None:
    """Add ``component`` to ``m`` as ``{kind}_{index}``; all components of one kind must have equal parameters."""
    shared = isinstance(platform, SharesModules)
    m.submodules[f"{kind}_{index}"] = platform.instance(kind, component) if shared else component
