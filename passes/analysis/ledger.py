"""The ledger of a design: the true bits that its weights and inputs cost, scales and metadata included.

Every bit comes from `Format.bits`; a site without a format costs its floating-point type.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from math import prod

from mxhw.errors import InputError
from mxhw.formats import Format, parse_format
from mxhw.ir import Assignment, Graph, NodeInfo, Site
from mxhw.ir.cache import CACHE, cache_bits
from mxhw.ir.symbolic import size_at

__all__ = ["Ledger", "ledger", "site_bits"]

_FLOAT_NAMES = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}


@dataclass(frozen=True)
class Ledger:
    """Stored bits of a design.

    Attributes
    ----------
    bits_per_weight : float
        Over all elements of the weights that products read (linear layers, the output head, convolutions, experts).
    bits_per_input : float
        Over all elements of the inputs of those.
    bits_per_attention_operand : float or None
        Over all elements of the operands of products of two activations; None without any.
    weight_bits : int
        Of those weights.
    bits_per_cached_element : float or None
        Over all keys and values that the KV cache holds after the run; tokens whose block is not full yet count in
        the model's floating-point type. None without attention.
    """

    bits_per_weight: float
    bits_per_input: float
    bits_per_attention_operand: float | None
    weight_bits: int
    bits_per_cached_element: float | None = None

    def to_json(self) -> dict[str, float | int | None]:
        """Return the fields as a JSON object."""
        return asdict(self)


def ledger(graph: Graph, assignment: Assignment, *, batch: int = 1, sequence: int = 128) -> Ledger:
    """Return the bits of an assignment; `batch` and `sequence` are the sizes that activations are counted at.

    Raises
    ------
    InputError
        If the graph multiplies by no weight.
    """

    nodes = graph.nodes.values()

    def count(operands: Iterable[str]) -> tuple[int, int]:
        costs = [
            site_bits(info, site, assignment, batch, sequence)
            for info in nodes
            for site in info.sites
            if site.operand in operands
        ]
        return sum(bits for bits, _ in costs), sum(elements for _, elements in costs)

    weight_bits, weights = count(("weight",))
    input_bits, inputs = count(("input",))
    attention_bits, operands = count(("lhs", "rhs"))
    stored_bits, cached = count((CACHE,))
    if not weights or not inputs:
        raise InputError("the graph has no weight to count bits of")
    return Ledger(
        bits_per_weight=weight_bits / weights,
        bits_per_input=input_bits / inputs,
        bits_per_attention_operand=attention_bits / operands if operands else None,
        weight_bits=weight_bits,
        bits_per_cached_element=stored_bits / cached if cached else None,
    )


def site_bits(info: NodeInfo, site: Site, assignment: Assignment, batch: int, sequence: int) -> tuple[int, int]:
    """Return bits and elements of a site of the node `info`."""
    shape = tuple(size_at(size, batch, sequence) for size in site.shape)
    name = assignment.formats.get(site.key, site.format)
    if name is None:
        return _float_format(info, site).bits(shape, axis=site.axis), prod(shape)
    fmt = parse_format(name)
    if site.operand == CACHE:
        axis = assignment.axes.get(site.key, site.axis)
        return cache_bits(fmt, shape, axis, _float_format(info, site)), prod(shape)
    return fmt.bits(shape, axis=site.axis), prod(shape)


def _float_format(info: NodeInfo, site: Site) -> Format:
    """Return the format of the values as they were captured."""
    name = _FLOAT_NAMES.get(info.dtype)
    if name is None:
        raise InputError(f"site {site.key!r} has no format and type {info.dtype}, whose bits are not defined")
    return parse_format(name)
