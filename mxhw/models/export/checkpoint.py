"""Writing a quantized checkpoint: a folder as `save_pretrained` writes it, with mxhw.json beside.

The folder appears whole or not at all.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from mxhw.errors import InputError, require_extra
from mxhw.files import new_folder
from mxhw.ir import Assignment, Graph
from mxhw.models.export.compressed_tensors import (
    compressed_config,
    compressed_tensors,
    input_of,
    is_same_input,
    preferred_dtype,
)
from mxhw.models.export.folder import check_free, copy_companions, save_config, save_record, save_tensors
from mxhw.models.export.native import native_config, native_tensors
from mxhw.models.export.weights import QuantizedWeight, quantized_weights, shared_names
from mxhw.models.loading import LoadedModel
from mxhw.progress import Progress, SilentProgress

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["TARGETS", "ExportReport", "Target", "export_checkpoint"]

Target = Literal["compressed-tensors", "native"]
TARGETS: tuple[Target, ...] = ("compressed-tensors", "native")
_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


@dataclass(frozen=True, kw_only=True)
class ExportReport:
    """What was written.

    Attributes
    ----------
    folder : str
    to : "compressed-tensors" or "native"
    dtype : str
        Of the model: the reloaded one equals the graph of the model loaded in this dtype.
    weights : mapping of str to str
        Format by layer.
    inputs : mapping of str to int
        Layers whose inputs the reader rounds, by format; with "~" in front where elements and blocks are those of the
        format and the rule of the scale is the reader's own.
    left_out : mapping of str to int
        Other operands with a format in the assignment, which the checkpoint says nothing of: sites by format.
    untied : str, optional
        The parameter that was tied to the embedding and is one of its own now, as only it is rounded.
    off_by_a_step : mapping of str to int
        Layers that were let through as the nearest that compressed-tensors can say: values one step of bfloat16 off.
    quantized_bytes, all_bytes : int
        Of the tensors that stand for the quantized weights, and of all tensors.
    """

    folder: str
    to: Target
    dtype: str
    weights: Mapping[str, str]
    inputs: Mapping[str, int]
    left_out: Mapping[str, int]
    untied: str | None
    off_by_a_step: Mapping[str, int]
    quantized_bytes: int
    all_bytes: int

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a JSON object."""
        return asdict(self)


def export_checkpoint(
    loaded: LoadedModel,
    graph: Graph,
    assignment: Assignment,
    folder: str | Path,
    *,
    to: Target = "compressed-tensors",
    dtype: torch.dtype | None = None,
    nearest: bool = False,
    force: bool = False,
    progress: Progress | None = None,
) -> ExportReport:
    """Write a model with the weights of an assignment as a checkpoint for `AutoModelForCausalLM.from_pretrained`.

    Reloaded with eager attention, it computes what the graph of the model loaded in `dtype` computes with its weights
    rounded by the assignment: the difference is 0.0. A native checkpoint holds any format and needs `import mxhw` where
    it is loaded; a compressed-tensors one holds what that library can say, and formats of inputs where it has them.

    Parameters
    ----------
    loaded : LoadedModel
    graph : Graph
        Captured from it.
    assignment : Assignment
    folder : str or Path
        To be made. It must not exist, or be empty, unless `force` says that it is replaced.
    dtype : torch.dtype, optional
        Of the model: float32, bfloat16 or float16. None: float32, or bfloat16 where compressed-tensors gives a weight
        in that only (MXFP and NVFP4).
    nearest : bool
        Let NVFP4 layers through of which compressed-tensors reads some values one step of bfloat16 off.

    Raises
    ------
    InputError
        If the assignment does not fit, a layer cannot be written so, or the folder is not to be written; then nothing
        is.
    """
    if to not in TARGETS:
        raise InputError(f"to must be one of {', '.join(TARGETS)}, not {to!r}")
    if dtype not in (None, *_DTYPES):
        raise InputError(f"dtype must be float32, bfloat16 or float16, not {dtype}")
    if to == "compressed-tensors":
        require_extra("compressed_tensors", "export", "a compressed-tensors checkpoint (--to native needs no package)")
    folder, model = Path(folder), loaded.model
    weights = quantized_weights(model, graph, assignment)
    dtype = dtype or (preferred_dtype(weights) if to == "compressed-tensors" else torch.float32)
    untied = _untied(model, weights)
    check_free(folder, force)
    quantized, off = _quantized_tensors(model, weights, to, dtype, nearest, progress or SilentProgress())
    tensors = {**_other_tensors(model, weights, dtype), **quantized}
    config = native_config(weights) if to == "native" else compressed_config(weights)
    said = [weight for weight in weights if to == "compressed-tensors" and input_of(weight) is not None]
    written = {f"{weight.node}:weight" for weight in weights} | {f"{weight.node}:input" for weight in said}
    report = ExportReport(
        folder=str(folder),
        to=to,
        dtype=str(dtype).removeprefix("torch."),
        weights={weight.node: weight.format.name for weight in weights},
        inputs=dict(
            Counter(("" if is_same_input(weight, dtype) else "~") + str(weight.input_format) for weight in said)
        ),
        left_out=dict(Counter(name for key, name in assignment.formats.items() if key not in written)),
        untied=untied,
        off_by_a_step=off,
        quantized_bytes=sum(tensor.nbytes for tensor in quantized.values()),
        all_bytes=sum(tensor.nbytes for tensor in tensors.values()),
    )
    try:
        with new_folder(folder) as beside:
            save_tensors(tensors, beside)
            save_config(model, config, dtype, untied is not None, beside)
            copy_companions(loaded.folder, beside)
            save_record({**report.to_json(), "assignment": assignment.to_json()}, beside)
    except OSError as error:
        raise InputError(f"checkpoint cannot be written to {folder}: {error.strerror or error}") from None
    return report


def _quantized_tensors(
    model: "PreTrainedModel",
    weights: Sequence[QuantizedWeight],
    to: Target,
    dtype: torch.dtype,
    nearest: bool,
    progress: Progress,
) -> tuple[dict[str, Tensor], dict[str, int]]:
    """Return the tensors, and how many values are off by layer, where any are."""
    tensors: dict[str, Tensor] = {}
    off: dict[str, int] = {}
    with progress.task("export", len(weights)) as task:
        for weight in weights:
            task.note(weight.node)
            if to == "native":
                tensors |= native_tensors(weight, dtype)
            else:
                made, count = compressed_tensors(model, weight, dtype, nearest)
                tensors |= made
                off |= {weight.node: count} if count else {}
            task.advance()
    return tensors, off


def _other_tensors(
    model: "PreTrainedModel", weights: Sequence[QuantizedWeight], dtype: torch.dtype
) -> dict[str, Tensor]:
    """Return what is not quantized, each parameter once; what bfloat16 holds exactly is stored so."""
    quantized = {weight.parameter for weight in weights}
    skipped = quantized | {name for name, first in shared_names(model).items() if first not in quantized}
    tensors = {}
    for name, value in model.state_dict().items():
        if name in skipped:
            continue
        if value.is_floating_point():
            value = value.to(dtype)
            half = value.to(torch.bfloat16)
            value = half if torch.equal(half.to(dtype), value) else value
        tensors[name] = value.contiguous().clone()
    return tensors


def _untied(model: "PreTrainedModel", weights: Sequence[QuantizedWeight]) -> str | None:
    """Return the output head's weight if it is quantized and tied to the embedding, which is not.

    Raises
    ------
    InputError
        If any other weight to quantize is shared: no config can untie that.
    """
    nodes = {weight.parameter: weight.node for weight in weights}
    head = getattr(model.get_output_embeddings(), "weight", None)
    untied = None
    for name, first in shared_names(model).items():
        rounded_names = [one for one in (name, first) if one in nodes]
        if not rounded_names:
            continue
        is_head = model.get_parameter(name) is head and model.config.tie_word_embeddings
        if len(rounded_names) > 1 or not is_head:
            other = first if rounded_names[0] == name else name
            raise InputError(
                f"layer {nodes[rounded_names[0]]!r} shares its weight with {other!r}; only an output head tied to the "
                "embedding can become a weight of its own"
            )
        untied = rounded_names[0]
    return untied
