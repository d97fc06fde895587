"""Names of a user's model as names in Verilog: readable, unique, never a keyword."""

import re
from collections.abc import Iterable
from hashlib import sha256

from mxhw.errors import InputError

__all__ = ["KEYWORDS", "check_design_name", "port_names", "stream_names", "tap_names"]

# IEEE 1800-2017, annex B: the keywords of Verilog and SystemVerilog, which Verilator reads as one language.
KEYWORDS = frozenset(
    re.findall(
        r"\w+",
        """
    accept_on alias always always_comb always_ff always_latch and assert assign assume automatic before begin bind bins
    binsof bit break buf bufif0 bufif1 byte case casex casez cell chandle checker class clocking cmos config const
    constraint context continue cover covergroup coverpoint cross deassign default defparam design disable dist do edge
    else end endcase endchecker endclass endclocking endconfig endfunction endgenerate endgroup endinterface endmodule
    endpackage endprimitive endprogram endproperty endspecify endsequence endtable endtask enum event eventually expect
    export extends extern final first_match for force foreach forever fork forkjoin function generate genvar global
    highz0 highz1 if iff ifnone ignore_bins illegal_bins implements implies import incdir include initial inout input
    inside instance int integer interconnect interface intersect join join_any join_none large let liblist library
    local localparam logic longint macromodule matches medium modport module nand negedge nettype new nexttime nmos nor
    noshowcancelled not notif0 notif1 null or output package packed parameter pmos posedge primitive priority program
    property protected pull0 pull1 pulldown pullup pulsestyle_ondetect pulsestyle_onevent pure rand randc randcase
    randsequence rcmos real realtime ref reg reject_on release repeat restrict return rnmos rpmos rtran rtranif0
    rtranif1 s_always s_eventually s_nexttime s_until s_until_with scalared sequence shortint shortreal showcancelled
    signed small soft solve specify specparam static string strong strong0 strong1 struct super supply0 supply1
    sync_accept_on sync_reject_on table tagged task this throughout time timeprecision timeunit tran tranif0 tranif1
    tri tri0 tri1 triand trior trireg type typedef union unique unique0 unsigned until until_with untyped use uwire var
    vectored virtual void wait wait_order wand weak weak0 weak1 while wildcard wire with within wor xnor xor
    """,
    )
)

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,79}")
_LONGEST = 80
_TAKEN = frozenset({"clk", "rst"})


def stream_names(names: Iterable[str]) -> dict[str, str]:
    """Return a Verilog name for each name of a stream, in the order given; the same names give the same.

    ``model.layers.0.mlp.down_proj`` becomes ``layers_0_mlp_down_proj``. Underscores are single, so that a double one
    can separate a stream from its wires. No two names, nor the ports made from them, are equal, in small letters too:
    files are named after them.

    Raises
    ------
    InputError
        For a name without a letter or digit of ASCII.
    """
    found: dict[str, str] = {}
    taken = set(_TAKEN)
    for name in names:
        plain = _plain(name)
        candidate, number = plain, 1
        while not taken.isdisjoint(_claims(candidate)):
            number += 1
            candidate = f"{plain}_{number}"
        taken.update(_claims(candidate))
        found[name] = candidate
    return found


def port_names(stream: str) -> tuple[str, str, str]:
    """Return the names of a stream's ports at the top: valid, ready, payload."""
    return f"{stream}_valid", f"{stream}_ready", f"{stream}_payload"


def tap_names(stream: str) -> tuple[str, str]:
    """Return the names of the ports that show a step's stream: whether a beat moves, and its payload."""
    return f"tap_{stream}_fire", f"tap_{stream}_payload"


def check_design_name(name: str) -> str:
    """Return the name of a design if its modules and files can be called by it, else raise InputError."""
    if not _IDENTIFIER.fullmatch(name) or name.lower() in KEYWORDS | _TAKEN:
        raise InputError(
            f"the name of a design must be a Verilog identifier of at most {_LONGEST} characters (letters, digits, "
            f"underscores, no digit first) and no keyword, not {name!r}"
        )
    return name


def _plain(name: str) -> str:
    plain = re.sub(r"[^A-Za-z0-9]+", "_", name.removeprefix("model.")).strip("_")
    if not plain:
        raise InputError(f"no Verilog name can be made of {name!r}: it has no letter and no digit of ASCII")
    if plain[0].isdigit():
        plain = f"n{plain}"
    if plain.lower() in KEYWORDS:
        plain = f"{plain}_stream"
    if len(plain) > _LONGEST:
        plain = f"{plain[: _LONGEST - 9].rstrip('_')}_{sha256(name.encode()).hexdigest()[:8]}"
    return plain


def _claims(name: str) -> set[str]:
    """Return everything that is called after a stream, in small letters."""
    return {part.lower() for part in (name, *port_names(name), *tap_names(name))}
