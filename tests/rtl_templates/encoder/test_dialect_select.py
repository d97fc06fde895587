"""Every decision of the DialectFP4 quantizer, for every input: pair, ranges, index; and a formal proof of them."""

import pytest
from amaranth.hdl import Module, Signal
from amaranth.sim import Simulator

from mxhw.errors import InputError
from mxhw.formats import DIALECT_RANGES, DIALECT_TABLE, DIALECT_THRESHOLDS
from mxhw.rtl_templates.encoder import BeneficialRanges, DialectIndex
from mxhw.rtl_templates.encoder.dialect_select import dialect_pair

# BlockDialect (arXiv 2501.01144v5), section 3: ranges of the even and the odd id of each pair, in units of 1/4.
PAPER_RANGES = [
    *(((20, 26), (15, 20)), ((20, 25), (15, 20)), ((18, 23), (14, 18)), ((18, 22), (14, 18))),
    *(((16, 20), (13, 16)), ((16, 19), (13, 16)), ((15, 17), (13, 15)), ((13, 15), (9, 11))),
]


def nearest(dialect, q):
    """The index whose magnitude is nearest to the middle of what q stands for."""
    distances = [abs(2 * q + 1 - 4 * h) for h in DIALECT_TABLE[dialect]]
    return distances.index(min(distances))


def in_ranges(pair, q):
    return [low <= q < high for low, high in PAPER_RANGES[pair]]


def outputs(component, ports, inputs):
    """The outputs for every row of inputs."""
    found = []

    async def bench(ctx):
        for row in inputs:
            for name, value in row.items():
                ctx.set(getattr(component, name), value)
            found.append([ctx.get(getattr(component, port)) for port in ports])

    simulator = Simulator(component)
    simulator.add_testbench(bench)
    simulator.run()
    return found


def indices(component):
    rows = [{"q": q, "dialect": dialect} for dialect in range(16) for q in range(32)]
    return [index for (index,) in outputs(component, ["index"], rows)]


def hits(component):
    rows = [{"q": q, "pair": pair} for pair in range(8) for q in range(32)]
    return outputs(component, ["even", "odd"], rows)


def changed(table, row, column, value):
    return [
        [value if (r, c) == (row, column) else entry for c, entry in enumerate(entries)]
        for r, entries in enumerate(table)
    ]


ALL_INDICES = [nearest(dialect, q) for dialect in range(16) for q in range(32)]
ALL_HITS = [in_ranges(pair, q) for pair in range(8) for q in range(32)]


def test_every_index_is_the_nearest_magnitude():
    assert indices(DialectIndex()) == ALL_INDICES


def test_every_q_is_in_the_ranges_of_the_paper():
    assert hits(BeneficialRanges()) == ALL_HITS


def test_every_maximum_names_its_pair():
    m, q, pair = Module(), Signal(5), Signal(3)
    m.d.comb += pair.eq(dialect_pair(q))
    found = []

    async def bench(ctx):
        for value in range(32):
            ctx.set(q, value)
            found.append(ctx.get(pair))

    simulator = Simulator(m)
    simulator.add_testbench(bench)
    simulator.run()
    # The maximum in half units is that of the pair's dialects, 7.5 at most and 4 at least.
    assert found == [15 - min(15, max(8, int(q / 2 + 0.5))) for q in range(32)]


@pytest.mark.parametrize("row", range(16))
def test_a_changed_entry_is_noticed(row):
    assert indices(DialectIndex(thresholds=changed(DIALECT_THRESHOLDS, row, 6, DIALECT_THRESHOLDS[row][6] + 1))) != (
        ALL_INDICES
    )
    assert hits(BeneficialRanges(ranges=changed(DIALECT_RANGES, row, 1, DIALECT_RANGES[row][1] - 1))) != ALL_HITS


def case_table(inputs, output, width, values):
    """A plain module of one case statement over the concatenation of its inputs, the first one lowest."""
    ports = ", ".join(f"input [{bits - 1}:0] {name}" for name, bits in inputs)
    address = ", ".join(name for name, _ in reversed(inputs))
    rows = "\n".join(f"    {i}: found = {width}'d{value};" for i, value in enumerate(values))
    assigns = "\n".join(f"  assign {name} = found[{at + bits - 1}:{at}];" for name, at, bits in output)
    outs = ", ".join(f"output [{bits - 1}:0] {name}" for name, _, bits in output)
    return (
        f"module gold({ports}, {outs});\n  reg [{width - 1}:0] found;\n  always @* case ({{{address}}})\n{rows}\n"
        f"    default: found = 0;\n  endcase\n{assigns}\nendmodule\n"
    )


def test_formal_proof_of_index_and_ranges():
    pytest.importorskip("pyosys")
    from mxhw.synthesis.equivalence import prove_equal

    index = case_table([("q", 5), ("dialect", 4)], [("index", 0, 3)], 3, ALL_INDICES)
    ranges = case_table(
        [("q", 5), ("pair", 3)], [("even", 0, 1), ("odd", 1, 1)], 2, [even | odd << 1 for even, odd in ALL_HITS]
    )
    assert prove_equal(DialectIndex(), index).proved
    assert prove_equal(BeneficialRanges(), ranges).proved
    wrong = list(ALL_INDICES)
    wrong[300] ^= 1
    assert not prove_equal(DialectIndex(), case_table([("q", 5), ("dialect", 4)], [("index", 0, 3)], 3, wrong)).proved


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: DialectIndex(thresholds=DIALECT_THRESHOLDS[:15]), "thresholds must be 16 dialects of 7"),
        (lambda: DialectIndex(thresholds=changed(DIALECT_THRESHOLDS, 3, 6, 32)), "thresholds must be ascending"),
        (lambda: BeneficialRanges(ranges=DIALECT_RANGES[:4]), "ranges must be 16 ranges, not 4"),
        (lambda: BeneficialRanges(ranges=changed(DIALECT_RANGES, 3, 1, 32)), "ranges must be bounds of 0 to 31"),
    ],
)
def test_impossible_tables_are_refused(build, message):
    with pytest.raises(InputError, match=message):
        build()
