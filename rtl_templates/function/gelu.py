"""GELU as a catalogue unit: :mod:`.self_gated` with a table of the normal distribution, exact or by tanh."""

from mxhw.arithmetic.functions.activation import ActivationFunction, ActivationSpec
from mxhw.rtl_templates.function.self_gated import SelfGated
from mxhw.rtl_templates.template import UnitTemplate

__all__ = ["TEMPLATE"]

_FUNCTIONS: dict[str, ActivationFunction] = {"erf": "gelu", "tanh": "gelu_tanh"}


def _build(
    *,
    approximation: str = "erf",
    exponent: int = -10,
    input_bits: int = 16,
    entries_log2: int = 7,
    range_log2: int = 3,
) -> SelfGated:
    spec = ActivationSpec(
        function=_FUNCTIONS[approximation],
        exponent=exponent,
        input_bits=input_bits,
        entries_log2=entries_log2,
        range_log2=range_log2,
    )
    return SelfGated(spec=spec)


TEMPLATE = UnitTemplate(
    name="gelu",
    kind="function",
    description="GELU of a stream of integers",
    build=_build,
    choices={"approximation": tuple(_FUNCTIONS)},
)
