"""Steps of linear layers: an encoder in front, the product, a requantizer and a bias behind it; experts, too."""

from mxhw.arithmetic import supports
from mxhw.hardware.structure import Bias, Requantize
from mxhw.passes.analysis.structure.products import Multiplied, product_record
from mxhw.passes.analysis.structure.steps import (
    LOGIT_BITS,
    REDUCED_BITS,
    RESIDUAL_BITS,
    STREAM_BITS,
    Group,
    Steps,
    channel_constants,
    elements,
    encoded,
    formats_of,
    one_format,
    rule_for,
)

__all__: list[str] = []


@rule_for("linear", "expert_linear")
def _linear(steps: Steps, group: Group) -> None:
    info, name = group.first, group.name
    experts, active = info.experts or 1, info.active_experts or 1
    n, k = (int(size) for size in info.input_shapes[1][-2:])  # type: ignore[arg-type]
    inputs = one_format(steps, group, "input")
    weights = formats_of(steps, group, "weight")
    source = steps.stream(info.inputs[0])
    tokens_vectors = elements(info.input_shapes[0]) // k  # of experts: a vector each that a token meets
    work = Multiplied(inputs, weights, n, k)
    if supports(inputs, weights[0]) == "dialect" and steps.choices.exponents is not None:
        spans = [steps.choices.exponents(each, fmt) for each, fmt in zip(group.members, weights, strict=True)]
        work = Multiplied(inputs, weights, n, k, (min(low for low, _ in spans), max(high for _, high in spans)))
    unit = product_record(
        name,
        work,
        storage=steps.choices.storage if info.layer is not None else "inside",
        experts=experts,
        active_experts=active,
    )
    codes = encoded(steps, group, source, inputs, k * tokens_vectors, k, unit.lanes)
    sums = steps.add(name, info.name, unit, (codes,), lanes_in=(unit.lanes,), lanes=unit.columns, bits=unit.output_bits)
    steps.streams[info.name] = _behind(steps, group, sums, unit.output_bits, n * active)


def _behind(steps: Steps, group: Group, sums: str, bits: int, length: int) -> str:
    """Add requantizer, and bias where there is one; return the last of them."""
    info, name = group.first, f"{group.name}.requantize"
    biased = len(info.input_shapes) > 2 and info.op == "linear"
    output = _output_bits(steps, group)
    unit = Requantize(
        length=length,
        lanes=1,
        input_bits=bits,
        reduced_bits=min(bits, REDUCED_BITS),
        multiplier_bits=STREAM_BITS,
        output_bits=output + biased,
        **channel_constants(len(group.members), length, STREAM_BITS),
    )
    found = steps.add(name, info.name, unit, (sums,), lanes_in=(1,), lanes=1, bits=output + biased)
    if not biased:
        return found
    name = f"{group.name}.bias"
    bias = Bias(
        length=length,
        lanes=1,
        input_bits=output + 1,
        value_bits=output,
        output_bits=output,
        **channel_constants(len(group.members), length, output),
    )
    return steps.add(name, info.name, bias, (found,), lanes_in=(1,), lanes=1, bits=output)


def _output_bits(steps: Steps, group: Group) -> int:
    """Return the width of the stream that a linear layer gives."""
    if group.first.layer is None:
        return LOGIT_BITS
    return RESIDUAL_BITS if group.first.name in steps.summands else STREAM_BITS
