"""Emission of one GEMM node: Verilog, memory images, real stimulus, expected outputs and a bench, in one folder.

Images hold the bit patterns that the format stores (`Format.stored`) in the layout of the unit; output channels in
several formats as codes of the array's one weight type (`mxhw.arithmetic.array_fields`). Expected outputs come from
`mxhw.arithmetic.gemm_accumulators`, whose exact product is also what evaluation in hardware arithmetic computes.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import mxhw.sim
from mxhw.arithmetic import array_fields, gemm_accumulators, unit_for
from mxhw.errors import InputError
from mxhw.formats import IntegerForm, pack_words, parse_format
from mxhw.passes.emit.instructions import instructions
from mxhw.passes.emit.names import folder_name
from mxhw.passes.emit.units import UnitPlan, plan_unit
from mxhw.rtl_templates import BitModGemm, DialectGemm
from mxhw.sim.design import DESIGN_FILE, X_BEATS_FILE, Y_BEATS_FILE, GemmDesign

__all__ = ["EmittedGemm", "GemmSource", "emit_gemm"]

WEIGHTS_FILE = "weights.hex"
METADATA_FILE = "metadata.hex"
ROW_SCALES_FILE = "row_scales.hex"
TOKEN_SCALES_FILE = "token_scales.hex"
_IDLE_MARGIN = 1000


@dataclass(frozen=True, kw_only=True)
class GemmSource:
    """What is emitted.

    Attributes
    ----------
    node : str
        Name of the graph node.
    weight : Tensor, float [N, K]
    inputs : Tensor, float [..., K]
        Activations that the node really gets; all leading dimensions are tokens.
    weight_format, input_format : str
        A pair that a unit computes (:func:`mxhw.arithmetic.supports`).
    rows, columns, lanes : int
        Array of rows × columns elements, each taking `lanes` k at a time.
    """

    node: str
    weight: Tensor
    inputs: Tensor
    weight_format: str
    input_format: str
    rows: int
    columns: int
    lanes: int = 4

    def __post_init__(self) -> None:
        if self.weight.dim() != 2 or self.weight.numel() == 0:
            raise InputError(f"{self.node}: weight must be [N, K], not {list(self.weight.shape)}")
        if self.inputs.dim() < 1 or self.inputs.numel() == 0 or self.inputs.shape[-1] != self.weight.shape[1]:
            shape = list(self.inputs.shape)
            raise InputError(f"{self.node}: inputs must be [..., {self.weight.shape[1]}] like the weight, not {shape}")


@dataclass(frozen=True)
class EmittedGemm:
    """One emitted layer: where it is, and what its design.json says."""

    folder: Path
    design: GemmDesign


def emit_gemm(source: GemmSource, root: Path) -> EmittedGemm:
    """Write `root`/<node>/ and return what was written; an older folder of that node is replaced as a whole.

    Raises
    ------
    InputError
        If no unit computes the pair of formats, a value is not finite, or the folder cannot be written.
    """
    x_format, w_format = parse_format(source.input_format), parse_format(source.weight_format)
    unit_for(x_format, w_format)
    inputs = source.inputs.reshape(-1, source.inputs.shape[-1])
    x, w = x_format.encode(inputs.detach()), w_format.encode(source.weight.detach())
    x_integers, w_integers = x_format.integers(x), w_format.integers(w)
    n, k = source.weight.shape
    array = {"rows": source.rows, "columns": source.columns, "lanes": source.lanes}
    plan = plan_unit(x_format, w_format, w_integers, **array, n=n, k=k)
    unit, verilog = plan.build(), plan.verilog()
    accumulators = gemm_accumulators(x_integers, w_integers, plan.unit)
    serial = plan.unit == "bitmod"
    images = _images(plan, unit, _flat(array_fields(w_format, w, plan.weight_type) if serial else w_format.stored(w)))
    beats = {
        X_BEATS_FILE: unit.input_beats(*_operand(plan, _flat(x_format.stored(x)), x_integers)),
        Y_BEATS_FILE: unit.output_beats(accumulators.objects()),
    }
    design = GemmDesign(
        node=source.node,
        unit=plan.unit,
        top=plan.top,
        verilog=tuple(verilog),
        images={name: text.count("\n") for name, text in images.items()},
        weight_format=w_format.name,
        input_format=x_format.name,
        m=inputs.shape[0],
        n=n,
        k=k,
        **array,
        x_width=unit.x_width,
        x_beats=len(beats[X_BEATS_FILE]),
        y_width=unit.y_width,
        y_beats=len(beats[Y_BEATS_FILE]),
        accumulator_width=unit.accumulator_width,
        exponent=accumulators.exponent,
        cycles_stall_free=unit.cycles(inputs.shape[0]),
        idle_limit=4 * unit.chunks * unit.terms + 8 * source.rows + _IDLE_MARGIN,
    )
    files = {name: _hex_lines(words) for name, words in beats.items()} | {**verilog, **images}
    files[ROW_SCALES_FILE] = _scales(w_integers, plan)
    files[TOKEN_SCALES_FILE] = _scales(x_integers, plan)
    files[DESIGN_FILE] = design.to_json()
    files["README.txt"] = instructions(design)
    files["bench.py"] = Path(mxhw.sim.__file__).with_name("bench.py").read_text()
    folder = root / folder_name(source.node)
    _write(folder, files)
    return EmittedGemm(folder, design)


def _flat(stored: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """Return stored bit patterns: codes [rows, K'], fields per block [rows, G]."""
    patterns = {name: value.numpy() for name, value in stored.items()}
    codes = patterns["code"]
    return patterns | {"code": codes.reshape(codes.shape[0], -1)}


def _operand(plan: UnitPlan, stored: Mapping[str, np.ndarray], integers: IntegerForm) -> list[np.ndarray]:
    """Return what the unit's input stream carries; narrower integers than its 8 bits keep their sign."""
    if plan.unit == "dialect":
        return [stored[name] for name in ("code", "dialect", "exponent")]
    return [integers.values.flatten(1).numpy()]


def _images(plan: UnitPlan, unit: BitModGemm | DialectGemm, stored: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Return the memory images of the weights: file name → hex text, one word a line."""
    images = {WEIGHTS_FILE: _packed(unit.weight_fields(stored["code"]), unit.code_bits)}
    if unit.metadata_depth:
        names = ("dialect", "exponent") if plan.unit == "dialect" else ("multiplier", "selector")
        fields = unit.metadata_fields(*(stored[name] for name in names if name in stored))
        images[METADATA_FILE] = _packed(fields, unit.metadata_width // plan.columns)
    return images


def _packed(fields: np.ndarray, bits: int) -> str:
    return "\n".join(pack_words(fields, bits)) + "\n"


def _hex_lines(words: list[int]) -> str:
    return "".join(f"{word:x}\n" for word in words)


def _scales(integers: IntegerForm, plan: UnitPlan) -> str:
    """Return float32 bit patterns of the scale of each row, which the unit leaves to whatever takes its outputs."""
    scale = integers.row_scale.double()
    if plan.unit == "bitmod":
        scale = torch.ldexp(scale, integers.exponent[..., 0])
    patterns = scale.float().numpy().view(np.uint32)
    return "".join(f"{pattern:08x}\n" for pattern in patterns.tolist())


def _write(folder: Path, files: Mapping[str, str]) -> None:
    """Write all files beside `folder`, then put them in its place."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".emit-", dir=folder.parent) as scratch:
            made = Path(scratch) / "made"
            made.mkdir()
            for name, text in files.items():
                (made / name).write_text(text)
            if folder.exists():
                folder.rename(Path(scratch) / "old")
            made.rename(folder)
    except OSError as error:
        raise InputError(f"cannot write the emitted layer {folder}: {error.strerror}") from error
