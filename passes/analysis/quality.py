"""How well a graph predicts text, and how far it is from the float graph: perplexity, KL divergence, agreement.

Windows do not overlap and each is a context of its own; the last position of a window predicts nothing and is left
out. Perplexity and KL are in nats per predicted token; KL is KL(float || quantized), the expected loss of coding the
float model's predictions with the quantized one's.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from math import exp, log
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from mxhw.errors import InputError
from mxhw.ir import Graph
from mxhw.progress import Progress, SilentProgress

__all__ = [
    "Partial",
    "Predictor",
    "Quality",
    "QualityEvaluator",
    "check_windows",
    "comparison",
    "log_probabilities",
    "quality_of",
]

_MOST_KEPT = 1 << 30  # bytes of float predictions


@dataclass(frozen=True)
class Quality:
    """Predictions over a text.

    Attributes
    ----------
    perplexity : float
        exp of the mean negative log likelihood of a token.
    bits_per_byte : float or None
        Bits to code one byte of the text; None if the bytes per token are unknown.
    kl : float
        Mean KL(float || this) [nats/token]; 0 for the float graph itself.
    agreement : float
        Share of positions whose likeliest token is that of the float graph.
    tokens : int
        Predictions counted.
    """

    perplexity: float
    bits_per_byte: float | None
    kl: float
    agreement: float
    tokens: int

    def to_json(self) -> dict[str, float | int | None]:
        """Return the fields as a JSON object."""
        return asdict(self)


@dataclass(frozen=True)
class Partial:
    """Quality on the first windows of a text.

    Attributes
    ----------
    quality : Quality
        Over the windows seen.
    windows : tuple of (loss, kl)
        Of each batch of windows seen, in order [nats/token].
    complete : bool
        Whether that is the whole text.
    """

    quality: Quality
    windows: tuple[tuple[float, float], ...]
    complete: bool


class Predictor(Protocol):
    """What can be scored: a graph, or what stands in its place."""

    def run(self, x: Tensor) -> Tensor:
        """Return the logits [batch, sequence, vocabulary] of token ids [batch, sequence]."""


class QualityEvaluator:
    """Compares graphs with the float graph on fixed windows; the float predictions are computed once and kept.

    Parameters
    ----------
    graph : Graph
        The float graph.
    windows : int64 tensor [windows, tokens]
    bytes_per_token : float, optional
        1.0 for byte models; gives `bits_per_byte`.
    batch : int
        Windows that run together. Results do not depend on it beyond float rounding.
    keep_logits : bool, optional
        Keep the float log probabilities in memory ([windows, tokens, vocabulary] float32); otherwise run the float
        graph again for every comparison. By default they are kept if they take 1 GiB at most.
    """

    def __init__(
        self,
        graph: Graph,
        windows: Tensor,
        *,
        bytes_per_token: float | None = None,
        batch: int = 1,
        keep_logits: bool | None = None,
        progress: Progress | None = None,
    ) -> None:
        check_windows(windows, batch)
        self.graph = graph
        self.windows = windows
        self.bytes_per_token = bytes_per_token
        self.batch = batch
        self.progress = progress or SilentProgress()
        if keep_logits is None:
            keep_logits = 4 * windows.numel() * (graph.signature.vocabulary or 0) <= _MOST_KEPT
        self._kept = self._float_predictions() if keep_logits else None

    def __call__(self, graph: Predictor, *, progress: bool = False) -> Quality:
        """Return the quality of `graph`; give the float graph itself for the reference."""
        shown = self.progress if progress else SilentProgress()
        with shown.task("evaluate", len(self.windows)) as task:
            for seen in self.grow(graph):
                task.advance(self.batch)
                quality = seen.quality
        return quality

    def grow(self, graph: Predictor) -> Iterator[Partial]:
        """Yield the quality of `graph` after every batch of windows; the last one is that of :meth:`__call__`."""
        sums, windows, seen = torch.zeros(3, dtype=torch.float64), [], 0
        for index, chunk in enumerate(self._chunks()):
            found = self._compare(graph, index, chunk)
            sums, seen = sums + found, seen + len(chunk)
            loss, kl, _ = (found / (len(chunk) * (chunk.shape[1] - 1))).tolist()
            windows.append((loss, kl))
            quality = quality_of(sums, self.windows[:seen], self.bytes_per_token)
            yield Partial(quality, tuple(windows), seen == len(self.windows))

    def reference(self) -> Quality:
        """Return the quality of the float graph."""
        return self(self.graph, progress=self._kept is None)

    def _float_predictions(self) -> list[Tensor]:
        kept = []
        with self.progress.task("float model", len(self.windows)) as task:
            for chunk in self._chunks():
                kept.append(self._log_probabilities(self.graph.run, chunk))
                task.advance(len(chunk))
        return kept

    def _compare(self, graph: Predictor, index: int, chunk: Tensor) -> Tensor:
        reference = self._kept[index] if self._kept else self._log_probabilities(self.graph.run, chunk)
        own = reference if graph is self.graph else self._log_probabilities(graph.run, chunk)
        return comparison(reference, own, chunk)

    def _chunks(self) -> tuple[Tensor, ...]:
        return torch.split(self.windows, self.batch)

    @staticmethod
    def _log_probabilities(run: Callable[[Tensor], Tensor], chunk: Tensor) -> Tensor:
        return log_probabilities(run(chunk))


def check_windows(windows: Tensor, batch: int) -> None:
    """Raise an InputError if nothing is predicted in windows of this shape, or the batch is not positive."""
    if windows.dim() != 2 or windows.shape[1] < 2:
        raise InputError(f"evaluation windows must be [windows, at least 2 tokens], not {list(windows.shape)}")
    if batch < 1:
        raise InputError(f"batch must be at least 1, not {batch}")


@torch.no_grad()
def log_probabilities(logits: Tensor) -> Tensor:
    """Return log probabilities [windows, tokens - 1, vocabulary] of every next token, in float32."""
    return log_softmax(logits[:, :-1].to(torch.float32), dim=-1)


def comparison(reference: Tensor, own: Tensor, chunk: Tensor) -> Tensor:
    """Return the sums [3] over the predictions of some windows: loss [nats], KL(reference || own) [nats], agreement.

    Both are log probabilities [windows, tokens - 1, vocabulary]; `chunk` holds the token ids [windows, tokens].
    """
    loss = -own.gather(-1, chunk[:, 1:, None]).sum(dtype=torch.float64)
    kl = (reference.exp() * (reference - own)).sum(dtype=torch.float64)
    agreed = (reference.argmax(-1) == own.argmax(-1)).sum().to(torch.float64)
    return torch.stack([loss, kl, agreed])


def quality_of(sums: Tensor, windows: Tensor, bytes_per_token: float | None) -> Quality:
    """Return the quality whose sums (:func:`comparison`) over all `windows` these are."""
    predictions = windows.shape[0] * (windows.shape[1] - 1)
    loss, kl, agreed = (sums / predictions).tolist()
    bits = None if bytes_per_token is None else loss / log(2) / bytes_per_token
    return Quality(exp(loss), bits, max(kl, 0.0), agreed, predictions)
