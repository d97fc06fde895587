"""Sums, products, activations and the embedding."""

from dataclasses import replace

import torch
from torch import fx

from mxhw.arithmetic.dataflow import Activation, Add, Embedding, Integers, Multiply, ReLU
from mxhw.arithmetic.functions.activation import ActivationSpec
from mxhw.arithmetic.functions.elementwise import AddSpec, MultiplySpec
from mxhw.arithmetic.functions.embedding import EmbeddingSpec
from mxhw.errors import InputError
from mxhw.passes.transform.lower.functions import activation_function
from mxhw.passes.transform.lower.lowering import Lowering, Stream
from mxhw.passes.transform.lower.plan import RESIDUAL_BITS
from mxhw.passes.transform.lower.probe import attribute, evaluate, run_until
from mxhw.passes.transform.lower.registry import register_lowering
from mxhw.passes.transform.lower.views import Source, info_of

__all__ = ["lower_activation", "lower_add", "lower_embedding", "lower_multiply"]


@register_lowering("act")
def lower_activation(lowering: Lowering, node: fx.Node) -> None:
    """Lower SiLU, GELU (erf or tanh) and ReLU."""
    function = activation_function(node)
    if function is None:
        raise InputError("only SiLU, GELU and ReLU have integers")
    stream = lowering.narrow(lowering.operand(node, 0))
    x = stream.integers
    if function == "relu":
        operation: ReLU | Activation = ReLU(x=x, y=x)
    else:
        spec = ActivationSpec(function=function, exponent=x.exponent, input_bits=x.bits)
        y = Integers(length=x.length, bits=spec.output_bits, exponent=spec.output_exponent)
        operation = Activation(x=x, y=y, spec=spec)
    lowering.add(node, operation, stream)


@register_lowering("add")
def lower_add(lowering: Lowering, node: fx.Node) -> None:
    """Lower a sum: on the residual grid, or as wide as it gets and then to the exponent that calibration gives."""
    name = info_of(node).name
    left, right = _operands(lowering, node)
    if not _is_left(lowering, left, right):
        left, right = right, left
    x, y, wanted = left.integers, right.integers, lowering.plan.stream(Source(node))
    spec = AddSpec.of(x.exponent, y.exponent, left_bits=x.bits, right_bits=y.bits, output_bits=wanted.bits)
    if x.exponent != wanted.exponent:
        spec = replace(spec, output_bits=spec.sum_bits)
    output = Integers(length=x.length, bits=spec.output_bits, exponent=x.exponent)
    stream = lowering.step(name, name, Add(x=x, right=y, y=output, spec=spec), left, right)
    lowering.give(node, stream if output == wanted else lowering.shifted(stream, wanted))


@register_lowering("mul")
def lower_multiply(lowering: Lowering, node: fx.Node) -> None:
    """Lower the product of two streams."""
    left, right = _operands(lowering, node)
    x, y, output = left.integers, right.integers, lowering.output(node)
    spec = MultiplySpec.of(
        x.exponent, y.exponent, output.exponent, left_bits=x.bits, right_bits=y.bits, output_bits=output.bits
    )
    lowering.add(node, Multiply(x=x, right=y, y=output, spec=spec), left, right)


@register_lowering("embedding")
def lower_embedding(lowering: Lowering, node: fx.Node) -> None:
    """Lower a look-up by token id, or by position; whatever the node does to its table (a factor) goes into it."""
    tables = [each for each in node.all_input_nodes if each.op == "get_attr" and attribute(each).dim() == 2]
    indices = [each for each in node.all_input_nodes if each.op != "get_attr"]
    if len(tables) != 1 or len(indices) != 1:
        raise InputError("not one table and one index")
    rows = attribute(tables[0]).shape[0]
    by_position = _by_position(lowering, indices[0])
    stream = lowering.positions() if by_position else lowering.tokens(rows)
    table = evaluate(node, {indices[0]: torch.arange(lowering.keys if by_position else rows)[None]})[0]
    spec = EmbeddingSpec.of(table, lowering.plan.residual_exponent, output_bits=RESIDUAL_BITS)
    lowering.add(node, Embedding(y=lowering.plan.stream(Source(node)), spec=spec), stream)


def _by_position(lowering: Lowering, index: fx.Node) -> bool:
    """Whether an index is the position of the token; False if it is the token's id, InputError if it is neither."""
    seen = lowering.views.see(index)
    if seen is not None and seen.source.node.op == "placeholder" and seen.in_order:
        return False
    batch, sequence = lowering.graph.sizes()
    tokens = lowering.keys if lowering.graph.signature.dynamic else sequence
    found = run_until(lowering.graph, index, torch.zeros(batch, tokens, dtype=torch.int64))
    if not torch.equal(found.flatten()[:tokens], torch.arange(tokens)):
        raise InputError("its index is neither the token's id nor its position")
    return True


def _operands(lowering: Lowering, node: fx.Node) -> tuple[Stream, Stream]:
    """Return two streams of one length; InputError for a factor, a constant, or a vector that is spread."""
    if any(value != 1 for value in node.kwargs.values()):
        raise InputError(f"a factor of {node.kwargs}")
    left, right = lowering.operand(node, 0), lowering.operand(node, 1)
    if left.integers.length != right.integers.length:
        raise InputError(f"vectors of {left.integers.length} and {right.integers.length}")
    return left, right


def _is_left(lowering: Lowering, left: Stream, right: Stream) -> bool:
    """Whether the sum of two streams is on the grid of the first: the residual stream, else the coarser one."""
    in_residual = [s.source is not None and s.source.node in lowering.plan.residual for s in (left, right)]
    return in_residual[0] if any(in_residual) else left.integers.exponent >= right.integers.exponent
