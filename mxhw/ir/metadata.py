"""What the graph knows of a node: typed, frozen records, JSON both ways (architecture, section 3).

Shapes and multiply-accumulates may be symbolic in the batch `b`, the sequence length `s` and, where a cache is read,
the tokens `p` before it (:mod:`mxhw.ir.symbolic`), so that one capture serves every length.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

from mxhw.errors import InputError
from mxhw.ir.dialect import GEMM_OPS, OPERANDS
from mxhw.ir.records import checked_object, list_field, names_field, plain, shape_from_json, shape_to_json
from mxhw.ir.symbolic import Shape, Size, size_at, size_from_json, size_to_json

__all__ = ["Gemm", "Hardware", "NodeInfo", "Shape", "Site", "SiteKey", "site_key"]

SiteKey = str


def site_key(node: str, operand: str) -> SiteKey:
    """Return "node:operand", the name of a site everywhere."""
    return f"{node}:{operand}"


@dataclass(frozen=True)
class Gemm:
    """`count` products y[m, n] = x[m, k] * w[n, k]^T.

    Attributes
    ----------
    causal : bool
        Only the lower triangle matters: of the result (`attn_qk`) or of x (`attn_pv`). The sizes are of the whole.
    """

    m: int
    n: int
    k: int
    count: int = 1
    causal: bool = False

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all of them, the masked half included."""
        return self.m * self.n * self.k * self.count


@dataclass(frozen=True, kw_only=True)
class Site:
    """One operand that can be quantized.

    Attributes
    ----------
    node, operand : str
        Unique node name; one of "weight", "input", "lhs", "rhs", "cache".
    shape : tuple of sizes
    axis : int
        Along it blocks and scales run, negative: the reduction dimension; for "cache" -1 (per token) or -2 (per block
        of tokens), see :func:`mxhw.ir.cache.quantize_cache`.
    format : str, optional
        Name of the number format; None for the captured floating-point values.
    scale_rule : str, optional
        How a calibrating pass chose the scale; None for the format's own rule.
    statistics : mapping of str to float
        What an analysis measured here.
    """

    node: str
    operand: str
    shape: Shape
    axis: int
    format: str | None = None
    scale_rule: str | None = None
    statistics: Mapping[str, float] = field(default_factory=dict)

    @property
    def key(self) -> SiteKey:
        """The name of the site, "node:operand"."""
        return site_key(self.node, self.operand)

    def to_json(self) -> dict[str, Any]:
        return {**plain(self), "shape": shape_to_json(self.shape), "statistics": dict(self.statistics)}

    @classmethod
    def from_json(cls, data: object) -> Site:
        values = checked_object(cls, data)
        if values.get("operand") not in OPERANDS:
            raise InputError(f"operand of a site must be one of {', '.join(OPERANDS)}, not {values.get('operand')!r}")
        return cls(**{**values, "shape": shape_from_json(values["shape"])})


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """The component that computes a node; filled in by the hardware passes.

    Attributes
    ----------
    component : str
        Name of the unit.
    parallelism : mapping of str to int
        Per dimension, for instance {"rows": 4, "columns": 8, "lanes": 4}.
    stream_order : tuple of str
        Tile loops, outermost first.
    interface : mapping
        Payload width in bits and format per port.
    initiation_interval, latency : int, optional
        Cycles between inferences, cycles of one.
    throughput : float, optional
        Inferences per second.
    fifo_depth : int, optional
        Words in front of the component.
    resources : mapping of str to float
        Area in µm², or LUT, FF, DSP, BRAM.
    energy : float, optional
        Joule per inference.
    """

    component: str
    parallelism: Mapping[str, int] = field(default_factory=dict)
    stream_order: tuple[str, ...] = ()
    interface: Mapping[str, Any] = field(default_factory=dict)
    initiation_interval: int | None = None
    latency: int | None = None
    throughput: float | None = None
    fifo_depth: int | None = None
    resources: Mapping[str, float] = field(default_factory=dict)
    energy: float | None = None

    def to_json(self) -> dict[str, Any]:
        return {**plain(self), "stream_order": list(self.stream_order)}

    @classmethod
    def from_json(cls, data: object) -> Hardware:
        values = checked_object(cls, data)
        return cls(**{**values, "stream_order": tuple(names_field(values, "stream_order"))})


@dataclass(frozen=True, kw_only=True)
class NodeInfo:
    """One node that computes.

    Attributes
    ----------
    name : str
        Unique: the module's path for a linear layer, "<attention path>.qk" and ".pv" for the products of attention.
    op : str
        Kind in the dialect (:data:`mxhw.ir.dialect.OPS`), or one that was registered (:mod:`mxhw.ir.kinds`).
    fqn, module_class : str
        Path and class of the module that the node came from.
    target : str
        The torch operator, or "body" for a node that was folded from several.
    input_shapes : tuple of shapes
        Of every tensor operand in order (for a linear layer: input, weight, bias).
    output_shape : tuple of sizes
        Of the first output.
    dtype : str
        Of the first output, for instance "float32".
    macs : size
        Multiply-accumulates.
    inputs : tuple of str
        Names of the nodes whose values it reads, views looked through; "input" is the model's input
        and "cache" the keys or values of the tokens before.
    sites : tuple of Site
        Operands that can be quantized.
    hardware : Hardware, optional
    layer : str, optional
        Path of the repeated block that it belongs to, for instance "model.layers.3".
    block : int, optional
        Equal for structurally equal layers.
    causal : bool
        Of attention: the scores above the diagonal are masked.
    experts, active_experts : int, optional
        Of the products of experts: how many weights there are, and how many of them multiply a token.
    """

    name: str
    op: str
    fqn: str
    module_class: str
    target: str
    input_shapes: tuple[Shape, ...]
    output_shape: Shape
    dtype: str
    macs: Size = 0
    inputs: tuple[str, ...] = ()
    sites: tuple[Site, ...] = ()
    hardware: Hardware | None = None
    layer: str | None = None
    block: int | None = None
    causal: bool = False
    experts: int | None = None
    active_experts: int | None = None

    @property
    def is_gemm(self) -> bool:
        """Whether :meth:`gemm` has an answer: `linear`, `attn_qk` and `attn_pv`."""
        return self.op in GEMM_OPS

    def gemm(self, batch: int = 1, sequence: int = 1, past: int = 0) -> Gemm:
        """Return the sizes of the matrix product at a batch, a sequence length and a number of cached tokens before it.

        A linear layer multiplies all tokens at once (m = batch * sequence); attention has one product per batch and
        head. The sizes of a static capture do not depend on the arguments.

        Raises
        ------
        InputError
            If the node is no matrix product.
        """
        if not self.is_gemm:
            raise InputError(f"node {self.name!r} is {self.op!r}, not one of {', '.join(sorted(GEMM_OPS))}")
        out = [size_at(size, batch, sequence, past) for size in self.output_shape]
        k = size_at(self.input_shapes[0][-1], batch, sequence, past)
        if self.op == "linear":
            return Gemm(m=prod(out[:-1]), n=out[-1], k=k)
        return Gemm(m=out[-2], n=out[-1], k=k, count=prod(out[:-2]), causal=self.causal)

    def to_json(self) -> dict[str, Any]:
        return {
            **plain(self),
            "input_shapes": [shape_to_json(shape) for shape in self.input_shapes],
            "output_shape": shape_to_json(self.output_shape),
            "macs": size_to_json(self.macs),
            "inputs": list(self.inputs),
            "sites": [site.to_json() for site in self.sites],
            "hardware": self.hardware and self.hardware.to_json(),
        }

    @classmethod
    def from_json(cls, data: object) -> NodeInfo:
        values = checked_object(cls, data)
        hardware = values.get("hardware")
        return cls(
            **{
                **values,
                "input_shapes": tuple(shape_from_json(shape) for shape in list_field(values, "input_shapes")),
                "output_shape": shape_from_json(values["output_shape"]),
                "macs": size_from_json(values.get("macs", 0)),
                "inputs": tuple(names_field(values, "inputs")),
                "sites": tuple(Site.from_json(site) for site in list_field(values, "sites")),
                "hardware": None if hardware is None else Hardware.from_json(hardware),
            }
        )
