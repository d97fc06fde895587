"""The text beside an emitted layer: what the files are and how to simulate them with any simulator."""

from mxhw.sim.design import GemmDesign

__all__ = ["instructions"]

_TEXT = """\
{node}: y[{m}, {n}] = x[{m}, {k}] . w[{n}, {k}]^T
{weight_format} weights, {input_format} inputs, {unit} unit, {rows} x {columns} array

{top}.v         top module {top}: clk, rst (synchronous), x stream in, y stream out
{library}
{images}
                memory images for $readmemh; simulate with this folder as working directory
x_beats.hex     real activations of the model, one x payload a line
y_beats.hex     the expected y payloads, one a line, from the software's integer reference
row_scales.hex, token_scales.hex
                float32 bit patterns; output value = accumulator * 2^{exponent} * row scale[column] * token scale[row]
design.json     widths, sizes, order of the streams
bench.py        cocotb bench: random stalls on both ports, every output compared

Streams: a beat moves when valid and ready are both high at a rising clock edge. Row tiles of {rows} tokens are
outermost; an x beat is {lanes} consecutive k of one row tile, a y beat is one row of a column tile: {columns} signed
accumulators of {accumulator_width} bits, the first column lowest.

With mxhw:            mxhw cosim .
With Icarus Verilog:  make -f "$(cocotb-config --makefiles)/Makefile.sim" SIM=icarus TOPLEVEL_LANG=verilog \\
                          VERILOG_SOURCES="{sources}" COCOTB_TOPLEVEL={top} COCOTB_TEST_MODULES=bench
With another one:     the same, with SIM=verilator, SIM=questa, SIM=xcelium ...
"""


def instructions(design: GemmDesign) -> str:
    """Return the text of README.txt."""
    library = "\n".join(f"{name:<15} memories that it instantiates" for name in design.verilog[1:])
    images = "\n".join(f"{name:<15} {words} words" for name, words in design.images.items())
    return _TEXT.format_map(vars(design) | {"library": library, "images": images, "sources": " ".join(design.verilog)})
