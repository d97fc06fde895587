"""A captured graph in the place of the model that lm-eval's `HFLM` runs; importing this imports lm-eval."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from lm_eval.models.huggingface import HFLM
from torch import Tensor

from mxhw.errors import InputError
from mxhw.ir import Graph
from mxhw.models import LoadedModel
from mxhw.progress import Progress, SilentProgress, Task

__all__ = ["GraphLM"]


class GraphLM(HFLM):  # type: ignore[misc]
    """Scores requests of lm-eval with a captured graph; configuration and tokenizer are those of the model.

    A Hugging Face tokenizer is used as `HFLM` uses it. Other tokenizers (bytes, llama2.c) put what they put in front of
    every text, and the last of that, or a line feed where there is nothing, stands before a text that has no context.

    Parameters
    ----------
    loaded : LoadedModel
    graph : Graph
        Captured from it, symbolic in batch and sequence.
    context : int, optional
        Most tokens of a request; by default the model's own context.
    batch : int
        Requests that run together; shorter ones are padded on the right, where a causal model does not look. Formats
        look there: the values of attention are quantized along the sequence, and padding then enters their scales. A
        request by itself has no padding, and scores what it would score anywhere.

    Raises
    ------
    InputError
        If the graph has one size only, or the model has no tokenizer.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        graph: Graph,
        *,
        context: int | None = None,
        batch: int = 1,
        progress: Progress | None = None,
    ) -> None:
        if not graph.signature.dynamic:
            raise InputError("tasks have requests of all lengths; capture the graph with dynamic=True")
        self._loaded, self._graph = loaded, graph
        self._front = loaded.encode(b"").tolist()
        self._progress = progress or SilentProgress()
        self._task: Task | None = None
        super().__init__(pretrained=loaded.model, backend="causal", max_length=context, batch_size=batch)

    @property
    def prefix_token_id(self) -> int:
        """The token before a text that has no context."""
        if self._loaded.tokenizer is None:
            front = self._front or self._loaded.encode(b"\n").tolist()
            return int(front[-1])
        token = super().prefix_token_id
        if token is None:
            raise InputError(f"the tokenizer of {self._loaded.name} has neither a begin token nor an end token")
        return int(token)

    def tok_encode(
        self,
        string: str,
        add_special_tokens: bool | None = None,
        left_truncate_len: int | None = None,
        **kwargs: Any,
    ) -> list[int]:
        """Return the ids of a text, without what the tokenizer puts in front if `add_special_tokens` is False."""
        if self._loaded.tokenizer is not None:
            ids = super().tok_encode(string, add_special_tokens, left_truncate_len, **kwargs)
            return list(ids)
        ids = self._loaded.encode(string.encode()).tolist()
        ids = ids[len(self._front) :] if add_special_tokens is False else ids
        return ids[-left_truncate_len:] if left_truncate_len else ids

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Return log likelihood, and whether it is the greedy one, of the continuation of every request."""
        with self._shown("continuations", len(requests)):
            return list(super().loglikelihood(requests, disable_tqdm=True))

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        """Return the log likelihood of the whole text of every request, in windows that do not overlap."""
        lengths = [len(self.tok_encode(request.args[0])) for request in requests]
        with self._shown("texts", sum(-(-length // self.max_length) for length in lengths)):
            return list(super().loglikelihood_rolling(requests, disable_tqdm=True))

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """Refuse: graphs score texts."""
        raise InputError(f"a graph scores texts and does not generate; task {requests[0].task_name!r} asks for that")

    def _create_tokenizer(self, *_: Any, **__: Any) -> None:
        self.tokenizer = self._loaded.tokenizer or _Vocabulary(self._loaded.model.config.vocab_size)

    def _loglikelihood_tokens(
        self,
        requests: list[tuple[Any, list[int], list[int]]],
        disable_tqdm: bool = False,
        override_bs: int | None = None,
    ) -> list[tuple[float, bool]]:
        longest = max(len(continuation) for _, _, continuation in requests)
        if longest > self.max_length:
            raise InputError(
                f"a continuation of {longest} tokens is longer than the context of {self.max_length} tokens"
            )
        return list(super()._loglikelihood_tokens(requests, disable_tqdm=True, override_bs=override_bs))

    def _model_call(self, inps: Tensor, attn_mask: Tensor | None = None, labels: Tensor | None = None) -> Tensor:
        """Return the logits [batch, tokens, vocabulary] of ids padded on the right."""
        logits = self._graph.run(inps)
        if self._task is not None:
            self._task.advance(len(inps))
        return logits

    @contextmanager
    def _shown(self, what: str, total: int) -> Iterator[None]:
        """Show a task; requests that share a row of logits finish before their number is reached."""
        with self._progress.task(what, total) as self._task:
            yield
        self._task = None


@dataclass
class _Vocabulary:
    """What `HFLM` reads from a tokenizer when it is made, for models whose tokenizer is not a Hugging Face one."""

    vocab_size: int
    pad_token_id: int = 0
