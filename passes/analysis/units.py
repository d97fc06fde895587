"""Which unit a GEMM node becomes under an assignment: from formats and sizes to the records of the cost model.

Everything that a format or the arithmetic defines (terms, widths, stored bits) is read from there.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from mxhw.arithmetic import (
    bitmod_widths,
    dialect_widths,
    supports,
    terms,
    weight_exponents,
    weight_group,
    weight_type,
    weight_type_named,
)
from mxhw.formats import Format, parse_format
from mxhw.hardware import GemmBatch, GemmUnit, GemmWork
from mxhw.ir import Graph, NodeInfo
from mxhw.ir.metadata import site_key

__all__ = ["LANES", "GemmNodes", "UnitFactory", "gemm_unit", "operand_names"]

LANES = 4  # products per processing element and cycle: BitMoD, section on the PE
INPUT_BITS = 8  # of the bit-serial unit's activations
DIALECT_BITS = 4
_ANY_EXPONENT = (0, 31)  # stored exponents that an operand computed at run time may have


def gemm_unit(
    x_format: Format, w_format: Format, k: int, *, exponents: tuple[int, int] = _ANY_EXPONENT, lanes: int = LANES
) -> GemmUnit | None:
    """Return the unit that multiplies inputs and weights of these formats over K = `k`, or None if there is none.

    `exponents` are the smallest and largest stored exponent of a DialectFP4 weight, which size its accumulator.
    """
    kind = supports(x_format, w_format)
    if kind == "dialect":
        block = w_format.block or k
        metadata = _bits(w_format, "block")
        return GemmUnit(
            kind,
            "dialect4",
            1,
            lanes,
            DIALECT_BITS,
            DIALECT_BITS,
            block,
            metadata,
            _bits(x_format, "block"),
            dialect_widths(k, block, exponents).accumulator,
        )
    if kind == "bitmod":
        of_type = weight_type(w_format)
        group = weight_group(w_format)
        # A group's selector and multiplier stand beside its codes; one scale per row is applied outside the unit.
        metadata = _bits(w_format, "block") if group is not None else 0
        return GemmUnit(
            kind,
            of_type,
            terms(of_type),
            lanes,
            weight_type_named(of_type).code_bits,
            INPUT_BITS,
            group or lanes,
            metadata,
            0,
            bitmod_widths(of_type, k, group, lanes).accumulator,
        )
    return None


def operand_names(info: NodeInfo) -> tuple[str, str]:
    """Return the operands of a GEMM node: what streams in, what stands in the unit's memory."""
    return ("input", "weight") if info.op == "linear" else ("lhs", "rhs")


def _bits(fmt: Format, per: str) -> int:
    return sum(each.bits for each in fmt.fields if each.per == per)


@dataclass(frozen=True)
class GemmNodes:
    """The GEMM nodes of a graph that have hardware under an assignment, and those that have none.

    Attributes
    ----------
    names : tuple of str
    batch : GemmBatch
        Their units and work, in the order of `names`.
    without : tuple of str
        Nodes that multiply and that no unit computes: by their formats, or by their kind (experts, convolutions).
    """

    names: tuple[str, ...]
    batch: GemmBatch
    without: tuple[str, ...]

    def macs(self) -> int:
        """Return the multiply-accumulates of the nodes that have hardware."""
        return sum(work.macs for work in self.batch.works)


@dataclass
class UnitFactory:
    """Units of a graph's GEMM nodes for any assignment, at one batch and sequence length.

    Remembers what does not change: the sizes of every node, and the units that were asked for.
    """

    graph: Graph
    sequence: int
    batch: int = 1
    lanes: int = LANES
    _works: dict[str, GemmWork] = field(default_factory=dict, init=False)
    _infos: dict[str, NodeInfo] = field(default_factory=dict, init=False)
    _units: dict[tuple[str, str, str], GemmUnit | None] = field(default_factory=dict, init=False)
    _unsupported: tuple[str, ...] = field(default=(), init=False)

    def __post_init__(self) -> None:
        self._unsupported = tuple(i.name for i in self.graph.nodes.values() if i.macs != 0 and not i.is_gemm)
        for info in self.graph.gemms:
            gemm = info.gemm(self.batch, self.sequence)
            self._works[info.name] = GemmWork(gemm.m, gemm.n, gemm.k, gemm.count, info.op == "linear")
            self._infos[info.name] = info

    def nodes(self, formats: Mapping[str, str], only: Collection[str] | None = None) -> GemmNodes:
        """Return the nodes under formats per site key; those outside of `only` (if given) count as without hardware."""
        found: dict[str, GemmUnit] = {}
        without: list[str] = []
        for name, info in self._infos.items():
            unit = self._unit(info, formats) if only is None or name in only else None
            if unit is None:
                without.append(name)
            else:
                found[name] = unit
        works = [self._works[name] for name in found]
        return GemmNodes(tuple(found), GemmBatch(list(found.values()), works), (*without, *self._unsupported))

    def total_macs(self) -> int:
        """Return the multiply-accumulates of the graph, those that no unit computes included."""
        return self.graph.macs(self.batch, self.sequence)

    def _unit(self, info: NodeInfo, formats: Mapping[str, str]) -> GemmUnit | None:
        x_name, w_name = (formats.get(site_key(info.name, operand)) for operand in operand_names(info))
        if x_name is None or w_name is None:
            return None
        key = (info.name, x_name, w_name)
        if key not in self._units:
            self._units[key] = self._build(info, parse_format(x_name), parse_format(w_name))
        return self._units[key]

    def _build(self, info: NodeInfo, x_format: Format, w_format: Format) -> GemmUnit | None:
        exponents = _ANY_EXPONENT
        if info.op == "linear" and supports(x_format, w_format) == "dialect":
            exponents = weight_exponents(w_format.integers(w_format.encode(self.graph.weight(info.name))))
        return gemm_unit(x_format, w_format, self._works[info.name].k, exponents=exponents, lanes=self.lanes)
