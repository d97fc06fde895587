"""A small design of the kind that emission makes, and what must leave its AXI ports.

Its core requantizes six sums a token, two a beat, and gives one beat a token: the position and the six results.
"""

from dataclasses import dataclass
from functools import cache

import torch

from mxhw.arithmetic.functions.requantize import RequantizeSpec, requantize
from mxhw.rtl_templates import component_verilog
from mxhw.rtl_templates.axi import AxiStream, AxiTop, axi_top
from mxhw.rtl_templates.function.requantize import Requantize
from mxhw.rtl_templates.stream import Widen
from tests.rtl_templates.bank import beats

NAME, LANES, LENGTH, POSITION_BITS = "toy", 2, 6, 5
SPEC = RequantizeSpec(multipliers=(40000, 65535, 32768, 50001, 1, 60000), largest=(1 << 19) - 1, shift=20)
STREAMS = (
    AxiStream("positions", True, POSITION_BITS, 1),
    AxiStream("sums", True, LANES * SPEC.input_bits, LENGTH // LANES),
    AxiStream("result", False, POSITION_BITS + LENGTH * SPEC.output_bits, 1),
)
DIGEST = bytes(range(1, 33))

CORE = f"""
module {NAME}_core (
    input clk, input rst,
    input positions_valid, output positions_ready, input [{POSITION_BITS - 1}:0] positions_payload,
    input sums_valid, output sums_ready, input [{STREAMS[1].width - 1}:0] sums_payload,
    output result_valid, input result_ready, output [{STREAMS[2].width - 1}:0] result_payload,
    output tap_requantize_fire, output [{LANES * SPEC.output_bits - 1}:0] tap_requantize_payload
);
    wire short_valid, short_ready, wide_valid, wide_ready;
    wire [{LANES * SPEC.output_bits - 1}:0] short_payload;
    wire [{LENGTH * SPEC.output_bits - 1}:0] wide_payload;
    toy_requantize requantize (
        .clk(clk), .rst(rst), .x__valid(sums_valid), .x__ready(sums_ready), .x__payload(sums_payload),
        .y__valid(short_valid), .y__ready(short_ready), .y__payload(short_payload)
    );
    toy_widen widen (
        .clk(clk), .rst(rst), .x__valid(short_valid), .x__ready(short_ready), .x__payload(short_payload),
        .y__valid(wide_valid), .y__ready(wide_ready), .y__payload(wide_payload)
    );
    assign result_valid = wide_valid & positions_valid;
    assign result_payload = {{wide_payload, positions_payload}};
    assign wide_ready = result_ready & positions_valid;
    assign positions_ready = result_ready & wide_valid;
    assign tap_requantize_fire = short_valid & short_ready;
    assign tap_requantize_payload = short_payload;
endmodule
"""


def core_verilog(spec: RequantizeSpec = SPEC) -> str:
    """Return the core and its modules."""
    widen = Widen(shape=SPEC.output_bits, lanes=LANES, ratio=LENGTH // LANES)
    return "\n".join(
        [
            component_verilog(Requantize(spec=spec, lanes=LANES), f"{NAME}_requantize"),
            component_verilog(widen, f"{NAME}_widen"),
            CORE,
        ]
    )


@cache
def toy_top(*, bus: int, streams: tuple[AxiStream, ...] = STREAMS, runs_at_reset: bool = True) -> AxiTop:
    """Return the design's AXI top."""
    return axi_top(NAME, streams, digest=DIGEST, bus=bus, runs_at_reset=runs_at_reset)


@dataclass(frozen=True)
class Traffic:
    """Payloads by stream, one list a token."""

    inputs: dict[str, list[list[int]]]
    outputs: dict[str, list[list[int]]]


def draw_traffic(tokens: int, seed: int) -> Traffic:
    """Draw positions and sums, corners among them, and say what comes out."""
    generator = torch.Generator().manual_seed(seed)
    sums = torch.randint(-SPEC.largest, SPEC.largest + 1, (tokens, LENGTH), generator=generator)
    sums[0], sums[1] = SPEC.largest, -SPEC.largest
    results = requantize(sums, SPEC)
    positions = torch.randint(0, 1 << POSITION_BITS, (tokens,), generator=generator).tolist()
    wide = beats(results, SPEC.output_bits, LENGTH)
    beat = beats(sums, SPEC.input_bits, LANES)
    step = LENGTH // LANES
    return Traffic(
        {
            "positions": [[position] for position in positions],
            "sums": [beat[i * step : (i + 1) * step] for i in range(tokens)],
        },
        {"result": [[word << POSITION_BITS | position] for word, position in zip(wide, positions, strict=True)]},
    )


def split(words: list[int], bus: int, width: int) -> list[int]:
    """Return a token's payloads as transfers of ``bus`` bits: each payload on its own, lowest bits first."""
    count = -(-width // bus)
    return [word >> bus * part & (1 << bus) - 1 for word in words for part in range(count)]
