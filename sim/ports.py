"""Ports of a top module and the streams among them.

Ports are called as in the Verilog (Amaranth's paths joined by two underscores, `x__payload`). A stream is three ports
`…valid`, `…ready`, `…payload` and is called by what stands before (`x`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mxhw.errors import InputError

__all__ = ["CLOCK", "RESET", "Port", "Stream", "check_stall", "component_ports", "component_verilog", "find_streams"]

CLOCK, RESET = "clk", "rst"
HIGHEST_STALL = 0.95


@dataclass(frozen=True)
class Port:
    """A port of the top module; its values are signed where the shape of the component says so."""

    name: str
    width: int
    is_input: bool
    signed: bool = False

    @property
    def stride(self) -> int:
        """Bytes of one value in arrays: 8, or whole words of 32 bits if it is wider than 64 bits."""
        return 8 if self.width <= 64 else -(-self.width // 32) * 4


@dataclass(frozen=True)
class Stream:
    """A stream of the top module; `prefix` is what its ports' names begin with, separator included."""

    name: str
    prefix: str
    payload: Port

    @property
    def is_input(self) -> bool:
        """Whether the unit takes its beats."""
        return self.payload.is_input

    @property
    def ports(self) -> tuple[str, str, str]:
        """Names of valid, ready and payload."""
        return f"{self.prefix}valid", f"{self.prefix}ready", self.payload.name


def find_streams(ports: Mapping[str, Port]) -> dict[str, Stream]:
    """Return the streams by name."""
    return {stream.name: stream for stream in _streams(ports)}


def component_ports(component: Any) -> dict[str, Port]:
    """Return the ports of an Amaranth component as its Verilog has them; clock and reset are not among them."""
    from amaranth.hdl import Shape
    from amaranth.lib.wiring import In

    ports = {}
    for path, member, _ in component.signature.flatten(component):
        name, shape = "__".join(map(str, path)), Shape.cast(member.shape)
        ports[name] = Port(name, shape.width, member.flow == In, shape.signed)
    return ports


def component_verilog(component: Any, name: str) -> str:
    """Return the Verilog of a component."""
    from mxhw.rtl_templates.emission import component_verilog

    return component_verilog(component, name)


def check_stall(stall: float) -> None:
    """Raise InputError unless `stall` is a probability that lets beats pass."""
    if not 0 <= stall <= HIGHEST_STALL:
        raise InputError(f"stall must be a probability from 0 to {HIGHEST_STALL}, not {stall!r}")


def _streams(ports: Mapping[str, Port]) -> Iterator[Stream]:
    for name, port in ports.items():
        prefix = name.removesuffix("payload")
        valid, ready = ports.get(f"{prefix}valid"), ports.get(f"{prefix}ready")
        if prefix == name or not prefix.endswith("_") or valid is None or ready is None:
            continue
        if valid.is_input == port.is_input != ready.is_input and valid.width == ready.width == 1:
            yield Stream(prefix.rstrip("_"), prefix, port)
