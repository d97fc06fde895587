"""Shapes of the six models that the BitMoD paper [HPCA 2025, arXiv 2411.11745, section V] evaluates.

Sizes are those of each model's `config.json` on the Hugging Face hub, by the name that its authors gave it there.
"""

from dataclasses import dataclass

from mxhw.errors import InputError, nearest

__all__ = ["MODELS", "ModelShape", "model_named"]


@dataclass(frozen=True, kw_only=True)
class ModelShape:
    """Sizes of a decoder-only language model.

    Attributes
    ----------
    name, source : in the paper; on the hub.
    hidden, intermediate, layers, vocabulary : widths and counts.
    heads, kv_heads : of queries; of keys and values.
    gated : whether the MLP has a gate beside its up projection (three matrices instead of two).
    """

    name: str
    source: str
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    layers: int
    vocabulary: int
    gated: bool

    @property
    def head_dim(self) -> int:
        """Width of a head."""
        return self.hidden // self.heads

    @property
    def kv_width(self) -> int:
        """Width of a token's keys, or values."""
        return self.head_dim * self.kv_heads

    def linears(self) -> tuple[tuple[str, int, int], ...]:
        """Return name, output and input width of the linear layers of one decoder block."""
        hidden, wide, cache = self.hidden, self.intermediate, self.kv_width
        attention = (("q", hidden, hidden), ("k", cache, hidden), ("v", cache, hidden), ("o", hidden, hidden))
        rising = (("gate", wide, hidden), ("up", wide, hidden)) if self.gated else (("fc1", wide, hidden),)
        return (*attention, *rising, ("down" if self.gated else "fc2", hidden, wide))


MODELS = (
    ModelShape(
        name="OPT-1.3B",
        source="facebook/opt-1.3b",
        hidden=2048,
        intermediate=8192,
        heads=32,
        kv_heads=32,
        layers=24,
        vocabulary=50272,
        gated=False,
    ),
    ModelShape(
        name="Phi-2",
        source="microsoft/phi-2",
        hidden=2560,
        intermediate=10240,
        heads=32,
        kv_heads=32,
        layers=32,
        vocabulary=51200,
        gated=False,
    ),
    ModelShape(
        name="Yi-6B",
        source="01-ai/Yi-6B",
        hidden=4096,
        intermediate=11008,
        heads=32,
        kv_heads=4,
        layers=32,
        vocabulary=64000,
        gated=True,
    ),
    ModelShape(
        name="Llama-2-7B",
        source="meta-llama/Llama-2-7b-hf",
        hidden=4096,
        intermediate=11008,
        heads=32,
        kv_heads=32,
        layers=32,
        vocabulary=32000,
        gated=True,
    ),
    ModelShape(
        name="Llama-2-13B",
        source="meta-llama/Llama-2-13b-hf",
        hidden=5120,
        intermediate=13824,
        heads=40,
        kv_heads=40,
        layers=40,
        vocabulary=32000,
        gated=True,
    ),
    ModelShape(
        name="Llama-3-8B",
        source="meta-llama/Meta-Llama-3-8B",
        hidden=4096,
        intermediate=14336,
        heads=32,
        kv_heads=8,
        layers=32,
        vocabulary=128256,
        gated=True,
    ),
)


def model_named(name: str) -> ModelShape:
    """Return the model of a name.

    Raises
    ------
    InputError
        If the paper does not evaluate it.
    """
    known = {model.name: model for model in MODELS}
    if name not in known:
        raise InputError(f"no model {name!r} in the BitMoD paper; it has {', '.join(known)}" + nearest(name, known))
    return known[name]
