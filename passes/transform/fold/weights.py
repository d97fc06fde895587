"""Weights of folded layers through a port of the design: its memories hold two layers, and the next one is loaded.

    weights ─▶ take_share ─▶ q_proj     words of layer 0, 1, …, L-1, 0, 1, … : of each layer the share of every product
            └▶ take_share ─▶ k_proj …

Chunks use layers in this order, whatever is asked. What is not a product of the folded layers (embedding, head, gains,
biases, multipliers) stays in memories of the design.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from mxhw.arithmetic.dataflow import Folded, Linear, Step, StreamType, TakeShare, Words
from mxhw.errors import InputError
from mxhw.passes.transform.fold.language import CONTROL, Domain, LanguageGraph

__all__ = ["WEIGHTS", "with_weight_port"]

WEIGHTS = "weights"
_PART_BITS = 32


@dataclass(frozen=True)
class _Ported:
    """What a :class:`LanguageGraph` is made of."""

    inputs: dict[str, StreamType]
    steps: list[Step]
    feedback: dict[str, str]
    members: dict[str, tuple[str, ...]]
    domains: dict[str, Domain]


def with_weight_port(
    graph: LanguageGraph, bits: int, shares: Mapping[str, tuple[int, int]] | None = None
) -> LanguageGraph:
    """Return the design with the weights of its layers behind a port.

    Parameters
    ----------
    bits : of a beat.
    shares : product → beats a layer, and cycles in which its unit takes them; None where the components, which decide
        them, are not known yet: then one each.

    Raises
    ------
    InputError
        If the layers do not share hardware, or no port has so many bits.
    """
    if not isinstance(bits, int) or bits < _PART_BITS or bits % _PART_BITS:
        raise InputError(f"a port of weights must have a multiple of {_PART_BITS} bits, not {bits!r}")
    products = [name for name, step in graph.steps.items() if _is_product(step)]
    if not graph.folded or not products:
        raise InputError(
            "weights come through a port where layers share hardware; each layer of this design has its own: emit it "
            "without a weight port"
        )
    loads = [(1, 1) if shares is None else shares[name] for name in products]
    words = Words(bits=bits, shares=tuple(beats for beats, _ in loads))
    steps: list[Step] = []
    domains: dict[str, Domain] = graph.domains | {WEIGHTS: "words"}
    for step in graph.steps.values():
        if step.name not in products:
            steps.append(step)
            continue
        name, share = f"{step.name}.words", products.index(step.name)
        take = TakeShare(x=words, share=share, cycles=loads[share][1])
        assert isinstance(step.operation, Folded)
        folded = replace(step.operation, words=take.output)
        steps += [Step(name, CONTROL, take, (WEIGHTS,)), replace(step, operation=folded, inputs=(*step.inputs, name))]
        domains[name] = "words"
    parts = _Ported(graph.inputs | {WEIGHTS: words}, steps, graph.feedback, graph.members, domains)
    return LanguageGraph(
        parts,
        whole=graph.whole,
        layers=graph.layers,
        sequences=graph.sequences,
        chunk=graph.chunk,
        folded=graph.folded,
        logits=graph.logits,
    )


def _is_product(step: Step) -> bool:
    return isinstance(step.operation, Folded) and isinstance(step.operation.first, Linear)
