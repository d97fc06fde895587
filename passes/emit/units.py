"""Which unit of `rtl_templates` a pair of encoded operands becomes, and its Verilog.

Two layers of equal geometry and formats get equal text, module names included, so that one compiled simulator serves
both.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from mxhw.arithmetic import Unit, common_weight_type, unit_for, weight_exponents, weight_group
from mxhw.errors import InputError
from mxhw.formats import Format, IntegerForm
from mxhw.rtl_templates import BitModGemm, DialectGemm, GemmShape, gemm_verilog, verilog_library

__all__ = ["UnitPlan", "plan_unit"]

LARGEST_SIDE = 256  # rows, columns; beyond it neither synthesis nor simulation of one array is sensible


@dataclass(frozen=True)
class UnitPlan:
    """Everything that decides the Verilog of a GEMM unit.

    Attributes
    ----------
    group : int or None
        bitmod: k per multiplier, None where weights have none. dialect: the block.
    exponents : (int, int) or None
        dialect: smallest and largest stored exponent of the weights.
    """

    unit: Unit
    rows: int
    columns: int
    lanes: int
    n: int
    k: int
    weight_type: str
    group: int | None
    exponents: tuple[int, int] | None

    @property
    def top(self) -> str:
        """The name of the top module: all parameters, so that different units never share it."""
        parts = [
            f"mxhw_{self.unit}_{self.weight_type}",
            f"{self.rows}x{self.columns}x{self.lanes}",
            f"n{self.n}_k{self.k}",
        ]
        if self.group is not None:
            parts.append(f"g{self.group}")
        if self.exponents is not None:
            parts.append(f"e{self.exponents[0]}_{self.exponents[1]}")
        return "_".join(parts)

    def build(self) -> BitModGemm | DialectGemm:
        """Return the unit."""
        shape = GemmShape(rows=self.rows, columns=self.columns, n=self.n, k=self.k, lanes=self.lanes)
        if self.exponents is not None and self.group is not None:
            return DialectGemm(shape, block=self.group, weight_exponents=self.exponents)
        return BitModGemm(shape, weight_type=self.weight_type, group=self.group)

    def verilog(self) -> Mapping[str, str]:
        """Return file name → text of everything that must be compiled, the top first."""
        return {f"{self.top}.v": _verilog(self), **verilog_library()}


@lru_cache(maxsize=64)
def _verilog(plan: UnitPlan) -> str:
    return gemm_verilog(plan.build(), plan.top)


def plan_unit(
    x_format: Format, w_format: Format, weights: IntegerForm, *, rows: int, columns: int, lanes: int, n: int, k: int
) -> UnitPlan:
    """Return the unit for a layer of `n` channels of `k` weights; InputError if none computes this pair of formats."""
    for name, size in (("rows", rows), ("columns", columns)):
        if not 1 <= size <= LARGEST_SIDE:
            raise InputError(f"{name} of an array must be 1 to {LARGEST_SIDE}, not {size!r}")
    unit = unit_for(x_format, w_format)
    if unit == "dialect":
        return UnitPlan(unit, rows, columns, lanes, n, k, "fp4", w_format.block, weight_exponents(weights))
    return UnitPlan(unit, rows, columns, lanes, n, k, common_weight_type((w_format,)), weight_group(w_format), None)
