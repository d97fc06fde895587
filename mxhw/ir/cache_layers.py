"""What every layer of a language model keeps of a token in its KV cache: the record, JSON both ways."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from torch import fx

from mxhw.errors import InputError
from mxhw.ir.records import checked_object

__all__ = ["CacheLayer", "cached_layers"]

_DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True, kw_only=True)
class CacheLayer:
    """What one layer keeps of a token.

    Attributes
    ----------
    heads : int
        Key/value heads.
    key_size, value_size : int
        Elements of a head's key and value.
    window : int
        Length of the sliding window; 0 where all tokens are kept.
    dtype : str
        For instance "float32".
    """

    heads: int
    key_size: int
    value_size: int
    window: int
    dtype: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: object) -> CacheLayer:
        values = checked_object(cls, data)
        least = {"heads": 1, "key_size": 1, "value_size": 1, "window": 0}
        if values["dtype"] not in _DTYPES or any(values[name] < low for name, low in least.items()):
            raise InputError(f"sizes or dtype of a cached layer are not possible: {data!r:.160}")
        return cls(**values)


def cached_layers(data: object, graph: fx.Graph) -> list[CacheLayer]:
    """Read the layers of a stored graph for decoding.

    Raises
    ------
    InputError
        If they are malformed, or not as many as the graph's inputs and outputs are for.
    """
    if not isinstance(data, list) or not data:
        raise InputError(f"cached layers must be a list that is not empty, not {data!r:.60}")
    layers = [CacheLayer.from_json(layer) for layer in data]
    outputs, tensors = graph.output_node().args[0], 2 * len(layers)
    nodes = [each for each in outputs if isinstance(each, fx.Node)] if isinstance(outputs, list) else []
    if len(nodes) != 1 + tensors or len(graph.find_nodes(op="placeholder")) != 2 + tensors:
        raise InputError(f"{len(layers)} cached layers need {2 + tensors} inputs and {1 + tensors} outputs")
    return layers
