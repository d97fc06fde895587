"""Where weights, constants, caches and tables lie: in memories of the design, or in memory outside.

What may lie outside, and what is kept of it inside:

=============  ===========================================================================================
weights        "inside": all layers. "layers": two, one that works and one that loads (the emitted design
               with a port). "tiles": two column tiles a product, loaded for every row tile (no RTL).
head           "inside", or "tiles" as weights: it is no layer, so that there is nothing to double (no RTL).
constants      "inside": multipliers, biases and gains of all layers. "layers": of two, loaded with the
               weights (no RTL).
cache          "inside": keys and values of all layers and sequences. "outside": of two tokens (no RTL).
embedding      "inside": all rows. "outside": two, one loaded for each token (no RTL).
=============  ===========================================================================================

:func:`candidates` are in the order in which a machine tries them: what costs most when it lies outside comes inside
first. Weights of an unfolded design have no layer to wait for: they lie inside, or are loaded by tiles.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from itertools import product
from typing import Literal, get_args

from mxhw.errors import InputError, nearest
from mxhw.hardware.structure import (
    AttentionUnit,
    Bias,
    BlockUse,
    Design,
    Embedding,
    ModelDesign,
    Norm,
    Product,
    Requantize,
    Unit,
    WeightStorage,
)

__all__ = ["KEPT_LAYERS", "Placement", "candidates", "placed"]

Where = Literal["inside", "outside"]
KEPT_LAYERS = 2

_CHOICES: Mapping[str, tuple[str, ...]] = {
    "weights": get_args(WeightStorage),
    "head": ("inside", "tiles"),
    "cache": get_args(Where),
    "embedding": get_args(Where),
    "constants": ("inside", "layers"),
}


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where everything lies, see the module's table."""

    weights: WeightStorage = "inside"
    head: WeightStorage = "inside"
    cache: Where = "inside"
    embedding: Where = "inside"
    constants: WeightStorage = "inside"

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            if (given := getattr(self, name)) not in allowed:
                raise InputError(
                    f"placement of {name} must be {' or '.join(allowed)}, not {given!r}{nearest(str(given), allowed)}"
                )

    @property
    def all_inside(self) -> bool:
        """Whether nothing comes from outside but the tokens."""
        return all(getattr(self, each.name) == "inside" for each in fields(self))

    def __str__(self) -> str:
        return ", ".join(f"{each.name} {getattr(self, each.name)}" for each in fields(self))


def candidates(model: ModelDesign, wanted: Mapping[str, str] | None = None) -> Iterator[Placement]:
    """Yield placements in the order in which they are tried; ``wanted``: those that are given, by name.

    Raises InputError for a name or a place that there is not.
    """
    wanted = wanted or {}
    for name in wanted:
        if name not in _CHOICES:
            raise InputError(
                f"there is no placement of {name!r}, only of {', '.join(_CHOICES)}{nearest(name, _CHOICES)}"
            )
    for name, where in wanted.items():
        if where == "layers" and not model.folded:
            raise InputError(f"{name} of 'layers' are loaded where layers share hardware; this design is not folded")
    choices = [(wanted[name],) if name in wanted else _open_choices(name, model) for name in _CHOICES]
    for places in product(*choices):
        found = Placement(**dict(zip(_CHOICES, places, strict=True)))  # type: ignore[arg-type]
        if "constants" in wanted or found.weights != "inside" or found.constants == "inside":
            yield found


def _open_choices(name: str, model: ModelDesign) -> tuple[str, ...]:
    allowed = _CHOICES[name]
    return (
        allowed
        if model.folded or name in ("head", "cache", "embedding")
        else tuple(choice for choice in allowed if choice != "layers")
    )


def placed(model: ModelDesign, placement: Placement, chunk: int) -> ModelDesign:
    """Return the model with its memories where they lie; ``chunk``: tokens that a loaded layer serves."""

    def in_block(unit: Unit, layers: int) -> Unit:
        if isinstance(unit, Product):
            return replace(unit, storage=placement.weights, chunk=chunk)
        if isinstance(unit, AttentionUnit):
            return replace(unit, outside=placement.cache == "outside")
        if isinstance(unit, Requantize | Bias | Norm) and placement.constants == "layers":
            kept = -(-unit.constant_words // layers) * min(KEPT_LAYERS, layers)
            return replace(unit, constant_words=kept)
        return unit

    def at_ends(unit: Unit) -> Unit:
        if isinstance(unit, Product):
            return replace(unit, storage=placement.head)
        return replace(unit, outside=placement.embedding == "outside") if isinstance(unit, Embedding) else unit

    blocks = tuple(
        BlockUse(_changed(use.design, partial(in_block, layers=len(use.layers))), use.layers) for use in model.blocks
    )
    return replace(model, front=_changed(model.front, at_ends), blocks=blocks, back=_changed(model.back, at_ends))


def _changed(design: Design, change: Callable[[Unit], Unit]) -> Design:
    steps = {name: replace(step, unit=change(step.unit)) for name, step in design.steps.items()}
    return replace(design, steps=steps)
