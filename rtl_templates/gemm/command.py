"""What a streamed GEMM unit is told to do: the fields of a command and the limits that are checked before it runs."""

from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Cat, Value
from amaranth.lib import data

from mxhw.rtl_templates.checks import require, require_natural

__all__ = ["MAPPINGS", "Command", "CommandLimits"]

# By number: which columns the rows of PEs work on, see `StreamedGemm`.
MAPPINGS = ("gemm", "gemv")


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command: what the fields of :attr:`CommandLimits.layout` are, as integers."""

    chunks: int
    groups: int
    tiles: int = 1
    weight_type: int = 0
    mapping: int = 0


@dataclass(frozen=True, kw_only=True)
class CommandLimits:
    """The largest command of a unit; its registers are sized for it.

    Attributes
    ----------
    group_chunks : largest number of chunks per group (or block).
    tile_chunks : largest number of chunks per tile, that is groups times chunks per group.
    tiles : largest number of tiles per command.
    steps : cycles per chunk of each weight type, by its number; 0 for a type that the unit lacks.
    group_cycles : fewest cycles that a group may take.
    gemv : whether the unit has the mapping "gemv".
    """

    group_chunks: int
    tile_chunks: int
    tiles: int
    steps: tuple[int, ...] = (1,)
    group_cycles: int = 1
    gemv: bool = False

    def __post_init__(self) -> None:
        for name in ("group_chunks", "tile_chunks", "tiles", "group_cycles"):
            require_natural(name, getattr(self, name))
        require(self.tile_chunks >= self.group_chunks, "tile_chunks", f"at least {self.group_chunks}", self.tile_chunks)
        require(isinstance(self.gemv, bool), "gemv", "True or False", self.gemv)

    @property
    def layout(self) -> data.StructLayout:
        """Layout of a command.

        Fields
        ------
        chunks : chunks per group, at least ``least_chunks`` of the weight type.
        groups : groups per tile.
        tiles : tiles, one after the other.
        weight_type : present if there are several; its number.
        mapping : present with ``gemv``; 0 for "gemm", 1 for "gemv".
        """
        fields: dict[str, Any] = {name: range(most + 1) for name, most in self._largest}
        if len(self.steps) > 1:
            fields["weight_type"] = range(len(self.steps))
        if self.gemv:
            fields["mapping"] = range(2)
        return data.StructLayout(fields)

    def least_chunks(self, weight_type: int = 0) -> int:
        """Return the fewest chunks of a group of a weight type."""
        return -(-self.group_cycles // self.steps[weight_type])

    def check(self, command: Command) -> None:
        """Raise InputError, with the bound, for a command that the unit would refuse or could not be given."""
        mappings = 1 + self.gemv
        known = [number for number, steps in enumerate(self.steps) if steps]
        require(command.weight_type in known, "weight_type", f"one of {known}", command.weight_type)
        require(0 <= command.mapping < mappings, "mapping", f"0 to {mappings - 1}", command.mapping)
        low, high = self.least_chunks(command.weight_type), self.group_chunks
        require(low <= command.chunks <= high, "chunks of a group", f"{low} to {high}", command.chunks)
        groups = self.tile_chunks // command.chunks
        require(1 <= command.groups <= groups, "groups", f"1 to {groups}", command.groups)
        require(1 <= command.tiles <= self.tiles, "tiles", f"1 to {self.tiles}", command.tiles)

    def beat(self, command: Command) -> int:
        """Return the payload of a command; InputError as for :meth:`check`."""
        self.check(command)
        fields = {name: getattr(command, name) for name, _ in self.layout}
        return self.layout.const(fields).as_value().value

    def is_legal(self, command: Any) -> Value:
        """Return whether a unit may run a command, as one bit; what cannot be violated is not compared."""
        conditions = [
            command.chunks * command.groups <= self.tile_chunks,
            command.groups.any(),
            command.tiles.any(),
            *(command[name] <= most for name, most in self._largest if (most + 1) & most),
        ]
        least = {number: self.least_chunks(number) for number, steps in enumerate(self.steps) if steps}
        if len(self.steps) == 1:
            return Cat(*conditions, command.chunks >= least[0]).all()
        fits = Cat((command.weight_type == number) & (command.chunks >= low) for number, low in least.items())
        return Cat(*conditions, fits.any()).all()

    @property
    def _largest(self) -> tuple[tuple[str, int], ...]:
        return ("chunks", self.group_chunks), ("groups", self.tile_chunks), ("tiles", self.tiles)
