"""What flows through a design that generates text: which token is where, and the beats of every stream.

The values are those of the unfolded model on whole sequences, one run a sequence; the streams of the design have the
same tokens in another order: request after request, pass after pass. What control steps give is what their own
definition makes of their inputs.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mxhw.arithmetic.dataflow import Integers
from mxhw.passes.emit.dataflow.beats import stream_beats, token_beats
from mxhw.passes.emit.language.tokens import IntArray, pass_tokens
from mxhw.passes.transform.fold import WEIGHTS, Conversation, LanguageGraph
from mxhw.passes.transform.lower import integer_inputs
from mxhw.sim.beats import Array

__all__ = ["PassRecorded"]


class PassRecorded:
    """Every stream of a design in a conversation.

    Attributes
    ----------
    tokens : of each domain.

    Parameters
    ----------
    graph : LanguageGraph
    conversation : what is asked, and the sequences that come of it.
    words : product → what the port of weights brings it, [layers, beats, parts]; none without a port.
    """

    def __init__(
        self, graph: LanguageGraph, conversation: Conversation, words: Mapping[str, Array] | None = None
    ) -> None:
        self.graph, self.conversation = graph, conversation
        # The last token of a sequence is generated, and not read.
        self._runs = [
            graph.whole.run(integer_inputs(graph.whole, ids[None, :-1]), keep=graph.whole.steps)
            for ids in conversation.sequences
        ]
        self.tokens = pass_tokens(graph, conversation.requests)
        self._values: dict[str, Any] = {"requests": conversation.requests}
        if words:
            whole = np.concatenate(list(words.values()), axis=1)
            self._values[WEIGHTS] = torch.from_numpy(whole.astype(np.int64))[None]

    def count(self, name: str) -> int:
        """Return the tokens of a stream."""
        return len(self.tokens[self.graph.domains[name]])

    def beats(self, name: str, lanes: int) -> Array:
        """Return the beats of a stream, as :func:`stream_beats` gives them."""
        kind = self.graph.types[name]
        if name not in self.graph.members:
            return stream_beats(self.value(name), kind, lanes)
        runs = {
            (layer, sequence): stream_beats(found[member], kind, lanes)
            for sequence, found in enumerate(self._runs)
            for layer, member in enumerate(self.graph.members[name])
        }
        counts = [_counts(kind, lanes, len(ids) - 1) for ids in self.conversation.sequences]
        bases = dict(zip(runs, np.cumsum([0, *(len(beats) for beats in runs.values())]), strict=False))
        starts = [np.cumsum(each) - each for each in counts]
        layers, sequences, positions = self._places(name)
        begins, sizes = [], []
        for layer, sequence, position in zip(layers, sequences, positions, strict=True):
            begins.append(bases[layer, sequence] + starts[sequence][position])
            sizes.append(counts[sequence][position])
        at = np.repeat(np.asarray(begins) - np.cumsum(sizes) + sizes, sizes) + np.arange(sum(sizes))
        found: Array = np.concatenate(list(runs.values()))[at]
        return found

    def repeat(self, name: str) -> int:
        """Return how often the beats come: words of all layers once a chunk, others once."""
        return self.count(name) // self.graph.layers if self.graph.domains[name] == "words" else 1

    def token_beats(self, name: str, lanes: int) -> int | tuple[int, ...]:
        """Return the beats of a token; one number a token where they differ."""
        kind, (_, _, positions) = self.graph.types[name], self._places(name)
        counted = token_beats(kind, lanes, 1, self.graph.positions_room)
        return counted if isinstance(counted, int) else tuple(counted[position] for position in positions)

    def value(self, name: str) -> Any:
        """Return the value of a stream of integers or of control, [1, tokens, ...]."""
        if name not in self._values:
            self._values[name] = self._found(name)
        return self._values[name]

    def _found(self, name: str) -> Any:
        graph = self.graph
        if name in graph.feedback:
            return self.value(graph.feedback[name])
        if name in graph.members:
            return self._gathered(name)
        step = graph.steps[name]
        return step.operation.run(*(self.value(source) for source in step.inputs))

    def _gathered(self, name: str) -> Tensor:
        assert isinstance(self.graph.types[name], Integers), "control steps read integers only"
        members = self.graph.members[name]
        rows = [
            self._runs[sequence][members[layer]][0, position]
            for layer, sequence, position in zip(*self._places(name), strict=True)
        ]
        return torch.stack(rows)[None]

    def _places(self, name: str) -> tuple[list[int], list[int], list[int]]:
        """Return member, sequence and position of each token of a stream."""
        tokens = self.tokens[self.graph.domains[name]]
        alone = len(self.graph.members.get(name, ())) == 1
        layers = np.zeros_like(tokens.layers) if alone else tokens.layers
        return layers.tolist(), tokens.sequences.tolist(), tokens.positions.tolist()


def _counts(kind: Any, lanes: int, tokens: int) -> IntArray:
    counted = token_beats(kind, lanes, 1, tokens)
    return np.full(tokens, counted, np.int64) if isinstance(counted, int) else np.asarray(counted, np.int64)
