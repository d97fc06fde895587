"""SiLU and its gate as catalogue units: :mod:`.self_gated` with a table of the sigmoid."""

from mxhw.arithmetic.functions.activation import ActivationSpec
from mxhw.rtl_templates.function.self_gated import SelfGated, SelfGatedProduct
from mxhw.rtl_templates.template import UnitTemplate

__all__ = ["GATE_TEMPLATE", "TEMPLATE"]


def _build(*, exponent: int = -10, input_bits: int = 16, entries_log2: int = 7, range_log2: int = 4) -> SelfGated:
    spec = ActivationSpec(
        function="silu", exponent=exponent, input_bits=input_bits, entries_log2=entries_log2, range_log2=range_log2
    )
    return SelfGated(spec=spec)


def _build_gate(
    *, exponent: int = -10, input_bits: int = 16, gate_bits: int = 16, entries_log2: int = 7, range_log2: int = 4
) -> SelfGatedProduct:
    spec = ActivationSpec(
        function="silu",
        exponent=exponent,
        input_bits=input_bits,
        gate_bits=gate_bits,
        entries_log2=entries_log2,
        range_log2=range_log2,
    )
    return SelfGatedProduct(spec=spec)


TEMPLATE = UnitTemplate(name="silu", kind="function", description="SiLU of a stream of integers", build=_build)
GATE_TEMPLATE = UnitTemplate(
    name="silu_gate", kind="function", description="SiLU of one stream times another, as in SwiGLU", build=_build_gate
)
