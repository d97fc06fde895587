"""What the hardware computes, operation by operation, as integer references; and the tables that RTL shares with it."""

from mxhw.arithmetic.exact import Limbs, Operand
from mxhw.arithmetic.gemm import (
    Accumulators,
    DynamicHardwareGemm,
    HardwareGemm,
    gemm,
    gemm_accumulators,
    weight_exponents,
)
from mxhw.arithmetic.terms import Term, WeightType, serial_term, terms, weight_type_named, weight_types
from mxhw.arithmetic.units import SCALE_BITS, Unit, supports, unit_for, weight_group, weight_type, weight_unit
from mxhw.arithmetic.widths import BitModWidths, DialectWidths, bitmod_widths, dialect_widths, signed_bits

__all__ = [
    "SCALE_BITS",
    "Accumulators",
    "BitModWidths",
    "DialectWidths",
    "DynamicHardwareGemm",
    "HardwareGemm",
    "Limbs",
    "Operand",
    "Term",
    "Unit",
    "WeightType",
    "bitmod_widths",
    "dialect_widths",
    "gemm",
    "gemm_accumulators",
    "serial_term",
    "signed_bits",
    "supports",
    "terms",
    "unit_for",
    "weight_exponents",
    "weight_group",
    "weight_type",
    "weight_type_named",
    "weight_types",
    "weight_unit",
]
