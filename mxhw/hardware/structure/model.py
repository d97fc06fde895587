"""A whole model as the cost model sees it: blocks that are repeated, and what stands before and behind them."""

from collections.abc import Iterator
from dataclasses import dataclass

from mxhw.hardware.structure.design import Design, Step

__all__ = ["BlockUse", "ModelDesign"]


@dataclass(frozen=True)
class BlockUse:
    """A block, and the layers that are computed by it.

    Attributes
    ----------
    design : one physical block; its input is "hidden", or what the steps name.
    layers : paths of the model's layers; their order is that of the model.
    """

    design: Design
    layers: tuple[str, ...]


@dataclass(frozen=True)
class ModelDesign:
    """A model.

    Attributes
    ----------
    front : from token numbers to hidden states (embedding).
    blocks : those of the layers. A folded design has one a kind of block, which serves all layers of that kind; an
        unfolded one has one a layer.
    back : from hidden states to logits (last norm, head).
    folded : tokens go through the layers of a block one after the other.
    """

    front: Design
    blocks: tuple[BlockUse, ...]
    back: Design
    folded: bool

    @property
    def layers(self) -> int:
        """How many layers the model has."""
        return sum(len(use.layers) for use in self.blocks)

    @property
    def parts(self) -> dict[str, tuple[Design, int]]:
        """Every part by name, "front", "block 0" and so on, "back", with the layers that it serves; ends serve one."""
        blocks = {f"block {i}": (use.design, len(use.layers)) for i, use in enumerate(self.blocks)}
        return {"front": (self.front, 1), **blocks, "back": (self.back, 1)}

    def steps(self) -> Iterator[tuple[str, Step]]:
        """Yield every physical step once, with the name of its part."""
        for part, (design, _) in self.parts.items():
            for step in design.steps.values():
                yield part, step
