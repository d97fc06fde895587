"""What people read: streams in words, the comment at the head of a design, its README.txt."""

from collections.abc import Mapping, Sequence

import mxhw
from mxhw.arithmetic.dataflow import (
    BlockCodes,
    Folded,
    Indices,
    IntegerGraph,
    Integers,
    KeyWeights,
    Linear,
    Passes,
    Requests,
    StreamType,
    Words,
)
from mxhw.passes.emit.dataflow.place import Placed
from mxhw.sim.dataflow_design import DataflowDesign, LanguageModel

__all__ = ["describe", "header", "instructions"]


def describe(kind: StreamType, lanes: int) -> str:
    """Return a stream in words: its vector, and the elements of a beat if there are several."""
    words = _words(kind)
    return f"{words}, {lanes} a beat" if lanes > 1 else words


def _words(kind: StreamType) -> str:
    match kind:
        case Integers():
            return f"{kind.length} x int{kind.bits} * 2^{kind.exponent}"
        case BlockCodes():
            name = "dialect4" if kind.kind == "dialect" else f"int{kind.bits}"
            return f"{kind.length} {name} codes, a scale for {kind.block}, * 2^{kind.exponent}"
        case Indices():
            return f"index below {kind.count}"
        case Requests():
            return f"requests of {kind.sequences} sequences of {kind.keys} tokens below {kind.vocabulary}"
        case Passes():
            return f"passes through {kind.layers} layers of {kind.sequences} sequences of {kind.keys} tokens"
        case Words():
            return f"words of {kind.bits} bits, {kind.beats} a layer"
        case KeyWeights():
            return f"weights of up to {kind.most} keys for {kind.heads} heads"
        case _:
            return f"scores of up to {kind.most} keys for {kind.heads} heads"


def header(
    name: str, digest: str, graph: IntegerGraph, placed: Mapping[str, Placed], names: Mapping[str, str]
) -> list[str]:
    """Return the lines of the comment: what it is, and for every step its component, parallelism and formats."""
    rows = [["instance", "kind", "parallelism", "formats"]]
    for step in graph.steps.values():
        sizes = " ".join(f"{what}={value}" for what, value in placed[step.name].parallelism.items())
        rows.append([names[step.name], step.operation.kind, sizes, _formats(step.operation)])
    return [
        f"{name}: a dataflow design, emitted by mxhw {mxhw.__version__}; configuration {digest}.",
        "",
        "clk: all registers; rst: synchronous, high. A beat of a stream moves when its valid and ready are both high.",
        "tap_*: the stream of each step, to be looked at; leave these outputs open in hardware.",
        "",
        *_table(rows),
    ]


def _formats(operation: object) -> str:
    layers = operation.members if isinstance(operation, Folded) else (operation,)
    if isinstance(layers[0], Linear):
        weights = dict.fromkeys(layer.weight_format.name for layer in layers if isinstance(layer, Linear))
        return f"weight {' or '.join(weights)}, input {layers[0].input_format.name}"
    output = getattr(operation, "output", None)
    return _words(output) if output is not None else ""


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip() for row in rows]


_README = """\
{name}: a dataflow design of {steps} steps, emitted by mxhw {version}
configuration {hash}

{top}.v
    the design: a named instance a step, clk, rst (synchronous, high), a stream per input and output, and the taps
modules/
    the components, one text for all instances that have its name; memories read what parameters like GAINS_FILE name
mxhw_rom.v, mxhw_ram.v
    memories that the components instantiate
images/
    memory images for $readmemh, one word a line; simulate and synthesise with this folder as working directory
beats/
    {tokens}: what the inputs get, and what every step and output must give, one payload a line, hex
design.json
    order, widths and files of all streams
structure.json
    what every component is, as the cost model sees it
schedule.npz
    which beats wait for which, from which cycles with stalls are predicted; not of runs that are long or generate text
bench.py
    cocotb bench: random stalls on every port, every beat of every step compared, the first that differs named
assignment.json
    formats that were asked for, where emission was given an assignment

Streams: token after token, element 0 first, lowest bits first; a beat moves when valid and ready are both high at a
rising clock edge.

With mxhw:            mxhw cosim .
With Icarus Verilog:  make -f "$(cocotb-config --makefiles)/Makefile.sim" SIM=icarus TOPLEVEL_LANG=verilog \\
                          VERILOG_SOURCES="$(echo *.v modules/*.v)" COCOTB_TOPLEVEL={top} COCOTB_TEST_MODULES=bench
With another one:     the same, with SIM=verilator, SIM=questa, SIM=xcelium ...
"""


def instructions(design: DataflowDesign) -> str:
    """Return the text of README.txt."""
    text = _README.format(
        name=design.name,
        steps=len(design.steps),
        version=design.version,
        hash=design.hash,
        top=design.top,
        tokens=f"{design.tokens} {'tokens' if design.language is None else 'tokens in a layer'}",
    )
    if design.language is None:
        return text
    weights = design.language.weights
    port = "" if weights is None else _PORT.format(stream=weights, file=design.inputs[weights].beats)
    return text + _talking(design.language) + port


_TALKING = """\

This design is a language model. With mxhw:  mxhw talk . --prompt TEXT

{requests}, one beat a token, lowest bits first: {fields}
    generated: read what the arg-max chose after this sequence's newest logits, instead of token
    logits:    of what follows this token, all logits and their arg-max are wanted
    last:      of a chunk (at most {chunk} tokens, which pass each layer together); generated ones are in a later chunk
    Position 0 starts a sequence anew; positions go up by one; {sequences} sequences of at most {keys} tokens.
{logits}
    {vocabulary} integers of {bits} bits a request with logits, {lanes} a beat; a logit is one times 2^{exponent}
{tokens}
    one beat a request with logits: the index of the largest, the first of equal ones
"""


_PORT = """\
{stream}
    the lines of {file} in order, the first one again after the last, as fast as the design takes them: of each
    layer the words of all its products. Every chunk of requests uses all of them once. Embedding, head, gains, biases
    and multipliers lie in memories of the design.
"""


def _talking(language: LanguageModel) -> str:
    return _TALKING.format(
        requests=language.requests,
        fields=", ".join(f"{field.name} {field.bits}" for field in language.request_fields),
        chunk=language.chunk,
        sequences=language.sequences,
        keys=language.keys,
        logits=language.logits,
        vocabulary=language.vocabulary,
        bits=language.logits_bits,
        lanes=language.logits_lanes,
        exponent=language.logits_exponent,
        tokens=language.tokens,
    )
