"""The AXI top of a design: Verilog that puts a core with valid/ready streams behind AXI-Stream and AXI-Lite ports.

The core is module ``{name}_core`` with ports clk, rst (synchronous, active high) and, per stream, ``{stream}_valid``,
``{stream}_ready``, ``{stream}_payload``. Its other outputs (taps for simulation) are left unconnected, so synthesis
drops what only feeds them. Port names are those from which Vivado's block design infers interfaces.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from amaranth.hdl import Shape
from amaranth.lib.wiring import Out, Signature

from mxhw.rtl_templates.axi.control import AxiLiteControl, axi_lite_signature
from mxhw.rtl_templates.axi.registers import AxiStream
from mxhw.rtl_templates.axi.stream import EVENTS, AxiStreamIn, AxiStreamOut, axi_stream_signature, bus_width
from mxhw.rtl_templates.emission import component_verilog

__all__ = ["CLOCK", "CONTROL", "RESET", "AxiTop", "TopPort", "axi_top"]

CLOCK, RESET, CONTROL = "aclk", "aresetn", "s_axi_control"
_EVENT_BITS = Shape.cast(EVENTS).width


@dataclass(frozen=True)
class TopPort:
    """A port of the top other than clock and reset."""

    name: str
    width: int
    is_input: bool

    @property
    def declaration(self) -> str:
        """As the module's head has it."""
        size = f" [{self.width - 1}:0]" if self.width > 1 else ""
        return f"{'input' if self.is_input else 'output'} wire{size} {self.name}"


@dataclass(frozen=True)
class AxiTop:
    """What :func:`axi_top` made.

    Attributes
    ----------
    top : Verilog of module ``{name}``.
    modules : Verilog of what it instantiates beside the core.
    ports : of the top, without clock and reset.
    """

    top: str
    modules: str
    ports: tuple[TopPort, ...]


def axi_top(
    name: str,
    streams: Sequence[AxiStream],
    *,
    digest: bytes,
    bus: int = 64,
    runs_at_reset: bool = True,
    header: str = "",
) -> AxiTop:
    """Return the top around core ``{name}_core``.

    Parameters
    ----------
    name : of the top; a Verilog identifier.
    streams : of the core. A design input ``x`` gets the port ``s_axis_x``, an output ``y`` the port ``m_axis_y``.
    digest : SHA-256 of the design, for its HASH registers.
    bus : largest number of bits of a tdata, a power of two from 8; wider beats take several transfers.
    runs_at_reset : whether inputs are accepted before software sets CONTROL.RUN.
    header : comment lines at the top of both texts.

    Raises
    ------
    InputError
        For a name that is no identifier, streams that have no room in the register table, a bus that is no power of 2.
    """
    control = AxiLiteControl(streams=streams, digest=digest, runs_at_reset=runs_at_reset)
    modules = {"control": component_verilog(control, f"{name}_control")}
    ports: list[TopPort] = []
    instances: list[str] = []
    for index, stream in enumerate(streams):
        width = bus_width(stream.width, bus)
        kind = f"axis_{'in' if stream.is_input else 'out'}_{stream.width}_{width}_{stream.beats or 0}"
        if kind not in modules:
            port = AxiStreamIn if stream.is_input else AxiStreamOut
            unit = port(width=stream.width, bus=width, beats=stream.beats)
            modules[kind] = component_verilog(unit, f"{name}_{kind}")
        ports += _ports(_bus(stream), axi_stream_signature(width), is_manager=not stream.is_input)
        instances += ["", *_stream_instance(stream, f"{name}_{kind}", index)]
    ports += _ports(CONTROL, axi_lite_signature(), is_manager=False)
    lines = [
        f"// {name}_core behind AXI: its streams as AXI-Stream ports, control and counters behind {CONTROL}.",
        f"module {name} (",
        *_head(ports, streams),
        ");",
        *_RESET_LINES,
        f"    wire [{_EVENT_BITS * len(streams) - 1}:0] events;  // of the streams' ports, for the counters",
        "",
        *_control_instance(name),
        *instances,
        "",
        *_core_instance(name, streams),
        "endmodule",
    ]
    comment = "".join(f"// {line}".rstrip() + "\n" for line in header.splitlines())
    return AxiTop(comment + "\n".join([*lines, ""]), comment + "\n".join(modules.values()), tuple(ports))


# The reset input may come from anywhere; two registers, which start high, bring it to the clock.
_RESET_LINES = (
    """    (* ASYNC_REG = "TRUE" *) reg [1:0] resetting = 2'b11;""",
    f"    always @(posedge {CLOCK}) resetting <= {{resetting[0], ~{RESET}}};",
    "    wire rst = resetting[1];",
    "    wire run, flush;  // accept transfers; soft reset of core and ports",
)


def _bus(stream: AxiStream) -> str:
    return f"{'s' if stream.is_input else 'm'}_axis_{stream.name}"


def _ports(prefix: str, signature: Signature, *, is_manager: bool) -> Iterable[TopPort]:
    for path, member, _ in signature.flatten(signature.create()):
        width = Shape.cast(member.shape).width
        yield TopPort(f"{prefix}_{path[-1]}", width, (member.flow == Out) != is_manager)


def _head(ports: Sequence[TopPort], streams: Sequence[AxiStream]) -> list[str]:
    """Return the declarations of all ports; attributes tell Vivado what belongs to clock and reset."""
    buses = ":".join([*map(_bus, streams), CONTROL])
    return [
        f'    (* X_INTERFACE_INFO = "xilinx.com:signal:clock:1.0 {CLOCK} CLK" *)',
        f'    (* X_INTERFACE_PARAMETER = "ASSOCIATED_BUSIF {buses}, ASSOCIATED_RESET {RESET}" *)',
        f"    input wire {CLOCK},",
        f'    (* X_INTERFACE_INFO = "xilinx.com:signal:reset:1.0 {RESET} RST" *)',
        '    (* X_INTERFACE_PARAMETER = "POLARITY ACTIVE_LOW" *)',
        f"    input wire {RESET},",
        *(f"    {port.declaration}," for port in ports[:-1]),
        f"    {ports[-1].declaration}",
    ]


def _instance(module: str, name: str, connections: Sequence[tuple[str, str]]) -> list[str]:
    *most, last = [f"        .{port}({wire})" for port, wire in connections]
    return [f"    {module} {name} (", *(f"{line}," for line in most), last, "    );"]


def _control_instance(name: str) -> list[str]:
    members = [(f"s_axi__{member}", f"{CONTROL}_{member}") for member in axi_lite_signature().members]
    rest = [("events", "events"), ("run", "run"), ("flush", "flush")]
    return _instance(f"{name}_control", "control", [("clk", CLOCK), ("rst", "rst"), *members, *rest])


def _stream_instance(stream: AxiStream, module: str, index: int) -> list[str]:
    """Return the wires between port and core, and the port."""
    outside, inside = ("s_axis", "y") if stream.is_input else ("m_axis", "x")
    members = axi_stream_signature(8).members
    connections = [("clk", CLOCK), ("rst", "rst"), *([("run", "run")] if stream.is_input else []), ("flush", "flush")]
    connections += [(f"{outside}__{member}", f"{_bus(stream)}_{member}") for member in members]
    connections += [(f"{inside}__{part}", f"{stream.name}_{part}") for part in ("valid", "ready", "payload")]
    connections.append(("events", f"events[{index * _EVENT_BITS} +: {_EVENT_BITS}]"))
    return [
        f"    wire {stream.name}_valid, {stream.name}_ready;",
        f"    wire [{stream.width - 1}:0] {stream.name}_payload;",
        *_instance(module, f"{_bus(stream)}_port", connections),
    ]


def _core_instance(name: str, streams: Sequence[AxiStream]) -> list[str]:
    names = [f"{stream.name}_{part}" for stream in streams for part in ("valid", "ready", "payload")]
    return [
        "    // The core's other outputs, tap_..., serve simulation: unconnected, they cost nothing.",
        "    /* verilator lint_off PINMISSING */",
        *_instance(f"{name}_core", "core", [("clk", CLOCK), ("rst", "rst | flush"), *zip(names, names, strict=True)]),
        "    /* verilator lint_on PINMISSING */",
    ]
