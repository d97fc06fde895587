"""Which token is where: what each stream of a design that generates text has tokens for."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mxhw.arithmetic.dataflow import RequestValues
from mxhw.arithmetic.dataflow.control import chunk_numbers
from mxhw.passes.transform.fold import Domain, LanguageGraph

__all__ = ["PassTokens", "pass_tokens"]

IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class PassTokens:
    """The tokens of a stream, in order: layer, sequence and position of each."""

    layers: IntArray
    sequences: IntArray
    positions: IntArray

    def __len__(self) -> int:
        return len(self.positions)

    def where(self, chosen: NDArray[np.bool_]) -> "PassTokens":
        """Return some of them."""
        return PassTokens(self.layers[chosen], self.sequences[chosen], self.positions[chosen])

    def places(self) -> tuple[tuple[int, int, int], ...]:
        """Return layer, sequence and position of each, for a record."""
        columns = (each.tolist() for each in (self.layers, self.sequences, self.positions))
        return tuple(zip(*columns, strict=True))


def pass_tokens(graph: LanguageGraph, requests: RequestValues) -> dict[Domain, PassTokens]:
    """Return the tokens of each domain for the requests of a run."""
    found = graph.steps["passes"].operation.run(requests)
    layer, sequence, position = (getattr(found, name)[0].numpy() for name in ("layer", "sequence", "position"))
    passes, last = PassTokens(layer, sequence, position), graph.layers - 1
    wanted = (found.logits[0].numpy() != 0) & (layer == last)
    asked = requests.sequence[0].numpy(), requests.position[0].numpy()
    return {
        "requests": PassTokens(np.zeros_like(asked[0]), *asked),
        "passes": passes,
        "returned": passes.where(layer < last),
        "logits": passes.where(wanted),
        "words": _loads(graph, requests),
    }


def _loads(graph: LanguageGraph, requests: RequestValues) -> PassTokens:
    """Return the layers whose words a run needs: all of them in every chunk."""
    chunks = int(chunk_numbers(requests.last[0], graph.chunk)[-1]) + 1
    layers = np.tile(np.arange(graph.layers), chunks)
    return PassTokens(layers, np.zeros_like(layers), np.zeros_like(layers))
