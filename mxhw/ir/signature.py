"""What a captured model takes, and the check of what it is given."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from mxhw.errors import InputError

__all__ = ["Signature", "check_sizes", "language_signature"]


@dataclass(frozen=True, kw_only=True)
class Signature:
    """What a graph takes.

    Attributes
    ----------
    model : str
        Name of the model that was captured.
    kind : str
        "tokens" (ids [batch, sequence]) or "features" (one floating-point tensor).
    batch, sequence : int
        Sizes given at capture: the defaults of everything that needs sizes.
    dynamic : bool
        Whether it runs at other sizes too.
    vocabulary, context : int, optional
        Number of token ids, and of positions.
    features : tuple of int or None, optional
        Sizes of a tensor of features, None for those that may vary (batch, tokens): (None, 3, 32, 32) of images.
    dtype : str, optional
        Type of features, for instance "float32".
    """

    model: str
    kind: str
    batch: int
    sequence: int
    dynamic: bool
    vocabulary: int | None = None
    context: int | None = None
    features: tuple[int | None, ...] | None = None
    dtype: str | None = None

    def sizes(self, batch: int | None = None, sequence: int | None = None) -> tuple[int, int]:
        """Return batch and sequence, the captured ones where None; InputError if a static graph has others."""
        captured = (self.batch, self.sequence)
        asked = (captured[0] if batch is None else batch, captured[1] if sequence is None else sequence)
        if not self.dynamic and asked != captured:
            raise InputError(
                f"graph was captured for batch {captured[0]} and sequence {captured[1]} only, not {asked[0]} and "
                f"{asked[1]}; capture with dynamic=True"
            )
        return asked

    def check(self, x: Tensor) -> None:
        """Raise an InputError if `x` is not of the type, shape and range that the graph takes."""
        if not isinstance(x, Tensor):
            raise InputError(f"{self.model} takes a tensor, not {type(x).__name__}")
        if self.kind == "features":
            self._check_features(x)
        else:
            self._check_tokens(x)

    def _check_features(self, x: Tensor) -> None:
        if not x.is_floating_point():
            raise InputError(f"{self.model} takes floating-point features, not {x.dtype}")
        dtype = str(x.dtype).removeprefix("torch.")
        if self.dtype is not None and dtype != self.dtype:
            raise InputError(f"{self.model} takes {self.dtype} features, not {dtype}; convert with x.to(...)")
        if self.features is not None:
            fits = len(self.features) == x.dim()
            if not fits or any(size not in (None, given) for size, given in zip(self.features, x.shape, strict=True)):
                wanted = ", ".join("any" if size is None else str(size) for size in self.features)
                raise InputError(f"{self.model} takes features of shape [{wanted}], not {list(x.shape)}")
        self.sizes(x.shape[0], x.shape[1] if x.dim() == 3 else None)

    def _check_tokens(self, x: Tensor) -> None:
        if x.dim() != 2 or x.is_floating_point() or x.numel() == 0:
            raise InputError(f"token ids must be integers [batch, sequence], not {x.dtype} {tuple(x.shape)}")
        self.sizes(x.shape[0], x.shape[1])
        if self.context is not None and x.shape[1] > self.context:
            raise InputError(f"{x.shape[1]} tokens are more than the context of {self.context} positions")
        low, high = int(x.min()), int(x.max())
        if low < 0 or (self.vocabulary is not None and high >= self.vocabulary):
            raise InputError(f"token ids must be from 0 to {(self.vocabulary or 0) - 1}, not {low} to {high}")


def check_sizes(batch: int, sequence: int, context: int | None) -> None:
    """Raise an InputError if a size is no positive integer, or the sequence is longer than the model's context."""
    for what, value in (("batch", batch), ("sequence", sequence)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InputError(f"{what} must be a positive integer, not {value!r}")
    if context is not None and sequence > context:
        raise InputError(f"sequence {sequence} is longer than the model's context of {context} positions")


def language_signature(model: Any, *, batch: int, sequence: int, dynamic: bool, name: str | None) -> Signature:
    """Return the signature of a Hugging Face language `model`, whose config tells the context and the vocabulary.

    Raises
    ------
    InputError
        If a size is no positive integer, or the sequence is longer than the context.
    """
    config = model.config
    context = getattr(config, "max_position_embeddings", None) or getattr(config, "max_seq_len", None)
    check_sizes(batch, sequence, context)
    return Signature(
        model=name or type(model).__name__,
        kind="tokens",
        batch=batch,
        sequence=sequence,
        dynamic=dynamic,
        vocabulary=getattr(config, "vocab_size", None),
        context=context,
    )
