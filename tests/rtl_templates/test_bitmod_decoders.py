"""BitMoD's decoders: proved equal to case tables made from the codebooks, and run over all that can come in."""

from itertools import product
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Cat, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from mxhw.arithmetic import RUNTIME_TYPES, Term, WeightType, type_number, weight_type_named, weight_types
from mxhw.errors import InputError
from mxhw.formats.bitmod_codebooks import BITMOD_CODEBOOKS
from mxhw.rtl_templates.decoder import BitModTermDecoder, RuntimeTermDecoder, SpecialValueFile
from mxhw.rtl_templates.decoder.bitmod_runtime import special_terms_bits
from mxhw.synthesis.equivalence import prove_equal
from tests.rtl_templates.bank import Bench

SPECIAL_BITS = 9
CODEBOOKS = {"fp3": (3, "four"), "fp4": (4, "four"), "fp3-oneterm": (3, "oneterm")}


def term_word(term: Term) -> int:
    return term.mantissa | term.exponent << 1 | term.sign << 3


def entry_word(kind: WeightType, value: int) -> int:
    """A special value as the register file's 9 bits."""
    entry = special_terms_bits(kind.special_entry(value))
    first, second = (t["mantissa"] | t["exponent"] << 1 | t["sign"] << 3 for t in (entry["first"], entry["second"]))
    return int(first | second << 4 | entry["significance"] << 8)


def value_of(name: str, code: int, selector: int) -> int:
    """What a code means, from the format's codebook or two's complement; not from the weight type."""
    if name not in CODEBOOKS:
        bits = int(name[3:])
        return code - (1 << bits) if code >> bits - 1 else code
    bits, special_values = CODEBOOKS[name]
    book, half = BITMOD_CODEBOOKS[bits, special_values], 1 << bits - 1
    if code == half:
        return book.special_values[selector]
    return -book.magnitudes[code - half] if code > half else book.magnitudes[code]


def plain_terms(name: str, value: int, significance: int) -> list[int]:
    """Term words of a value, by arithmetic alone: Booth digits by division, floats by the largest power that fits."""
    if name.startswith("int"):
        words, carry = [], 0
        for _ in range((int(name[3:]) + 1) // 2):
            value, low = divmod(value, 4)
            words.append(low + carry - 4 * (low >= 2))
            carry = int(low >= 2)
        return [0 if d == 0 else 1 | (abs(d) == 2) << 1 | (d < 0) << 3 for d in words]
    words, left = [], abs(value)
    weights = {"fp4": (1, 0), "fp3": (0, 0), "fp3-oneterm": (significance,)}[name]
    for weight in weights:
        fitting = [e for e in range(4) if 1 << e + weight <= left]
        words.append(1 | max(fitting) << 1 | (value < 0) << 3 if fitting else 0)
        left -= 1 << max(fitting) + weight if fitting else 0
    assert left == 0
    return words


def gold(name: str, spoiled: bool = False) -> str:
    """A case table over code, selector and step; ``spoiled`` changes one entry."""
    kind = weight_type_named(name)
    steps = max(2, kind.steps)
    step_bits = (steps - 1).bit_length()
    selectors = range(4) if kind.magnitudes else range(1)
    rows = []
    for selector, code in product(selectors, range(1 << kind.code_bits)):
        special = value_of(name, 1 << kind.code_bits - 1, selector)
        words = plain_terms(name, value_of(name, code, selector), int(abs(special) == 16))
        for step in range(1 << step_bits):
            word = words[step] if step < len(words) else 0
            if spoiled and (selector, code, step) == (0, 1 << kind.code_bits - 1, kind.steps - 1):
                word ^= 9
            index = code | selector << kind.code_bits | step << kind.code_bits + 2
            rows.append(f"{kind.code_bits + 2 + step_bits}'d{index}: term = 4'd{word};")
    chosen = "selector" if kind.magnitudes else "2'd0"
    body = "\n".join(rows)
    return (
        f"module gold(input [{kind.code_bits - 1}:0] code, input [1:0] selector, input [{step_bits - 1}:0] step,\n"
        f"output reg [3:0] term);\nalways @* case ({{step, {chosen}, code}})\n{body}\nendcase\nendmodule\n"
    )


@pytest.mark.parametrize("name", list(weight_types()))
def test_each_decoder_is_proved_equal_to_a_case_table(name):
    assert prove_equal(BitModTermDecoder(weight_type=weight_type_named(name)), gold(name)).proved


@pytest.mark.parametrize("name", ["int8", "fp4", "fp3-oneterm"])
def test_a_changed_entry_is_refuted(name):
    decoder = BitModTermDecoder(weight_type=weight_type_named(name))
    assert not prove_equal(decoder, gold(name, spoiled=True)).proved


class Legal(wiring.Component):
    """The run-time decoder of one lane, with outputs zero for steps and numbers that no type has."""

    code: In(8)
    kind: In(3)
    selector: In(2)
    specials: In(4 * SPECIAL_BITS)
    step: In(2)
    word: Out(8)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.decoder = decoder = RuntimeTermDecoder(lanes=1)
        m.d.comb += [
            decoder.kind.eq(self.kind),
            decoder.codes.as_value().eq(self.code),
            decoder.selector.eq(self.selector),
            decoder.specials.as_value().eq(self.specials),
            decoder.step.eq(self.step),
        ]
        for name in RUNTIME_TYPES:
            with m.If((self.kind == type_number(name)) & (self.step < weight_type_named(name).steps)):
                m.d.comb += self.word.eq(Cat(decoder.terms.as_value(), decoder.significance, decoder.last))
        return m


def runtime_gold(spoiled: bool = False) -> str:
    """A case table over type, step and code; ``special`` is the column's entry, ``s`` its significance."""
    rows = []
    for name in RUNTIME_TYPES:
        kind = weight_type_named(name)
        bits = kind.code_bits
        for step, code in product(range(kind.steps), range(1 << bits)):
            pattern = f"13'b{type_number(name):03b}{step:02b}" + "?" * (8 - bits) + f"{code:0{bits}b}"
            ends = int(step == kind.steps - 1)
            if kind.magnitudes and code == kind.special_code:
                term = f"special[{4 * step + 3}:{4 * step}]"
            elif name == "fp3-oneterm":
                words = [plain_terms(name, value_of(name, code, 0), s)[0] for s in (0, 1)]
                term = f"(s ? 4'd{words[1]} : 4'd{words[0]})"
            else:
                word = plain_terms(name, value_of(name, code, 0), 0)[step]
                term = f"4'd{word ^ (spoiled and (name, code, step) == ('fp4', 7, 1))}"
            significance = "{2'd0, s}" if name == "fp3-oneterm" else f"3'd{kind.significances[step]}"
            rows.append(f"{pattern}: word = {{1'd{ends}, {significance}, {term}}};")
    body = "\n".join(rows)
    return (
        "module gold(input [7:0] code, input [2:0] kind, input [1:0] selector, input [35:0] specials,\n"
        "input [1:0] step, output reg [7:0] word);\n"
        "wire [8:0] special = specials >> 9 * selector;\nwire s = special[8];\n"
        f"always @* casez ({{kind, step, code}})\n{body}\ndefault: word = 8'd0;\nendcase\nendmodule\n"
    )


def test_the_run_time_decoder_is_proved_equal_to_a_case_table():
    assert prove_equal(Legal(), runtime_gold()).proved


def test_a_changed_entry_of_the_run_time_table_is_refuted():
    assert not prove_equal(Legal(), runtime_gold(spoiled=True)).proved


def runtime_stimulus() -> tuple[dict[str, Any], list[tuple[int, int, int, int]]]:
    """Every code, with rubbish above it, selector and step of every type; and terms, significance and last expected."""
    ports: dict[str, list[int]] = {name: [] for name in ("kind", "codes", "selector", "specials", "step")}
    expected = []
    for name in RUNTIME_TYPES:
        kind = weight_type_named(name)
        file = sum(entry_word(kind, value) << SPECIAL_BITS * s for s, value in enumerate(kind.special_values))
        for selector in range(4):
            for step in range(kind.steps):
                for code in range(1 << kind.code_bits):
                    rubbish = (code * 37 + 11) << kind.code_bits & 0xFF
                    ports["kind"].append(type_number(name))
                    ports["codes"].append(code | rubbish | ((code + 1) % (1 << kind.code_bits)) << 8)
                    ports["selector"].append(selector)
                    ports["specials"].append(file)
                    ports["step"].append(step)
                    terms = [kind.term(c, step, selector) for c in (code, (code + 1) % (1 << kind.code_bits))]
                    words = [term_word(term) for term in terms]
                    expected.append(
                        (words[0], words[1], kind.significance(step, selector), int(step == kind.steps - 1))
                    )
    return ports, expected


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench({"decoder": RuntimeTermDecoder(lanes=2), "file": SpecialValueFile(weight_type="fp4")})


def decoded(bench: Bench, ports: dict[str, Any]) -> list[tuple[int, int, int, int]]:
    found = bench.trace({"decoder": ports})["decoder"]
    trace = {name: values.astype(np.int64).tolist() for name, values in found.items()}
    return [
        (terms & 15, terms >> 4, significance, last)
        for terms, significance, last in zip(trace["terms"], trace["significance"], trace["last"], strict=True)
    ]


def test_the_run_time_decoder_gives_every_term_of_every_type(bench):
    ports, expected = runtime_stimulus()
    assert decoded(bench, ports) == expected


def test_another_type_number_or_special_value_is_noticed(bench):
    ports, expected = runtime_stimulus()
    wrong_type = {**ports, "kind": [type_number("fp3") if k == type_number("fp4") else k for k in ports["kind"]]}
    assert decoded(bench, wrong_type) != expected
    wrong_value = {**ports, "specials": [word ^ 1 << 3 for word in ports["specials"]]}
    assert decoded(bench, wrong_value) != expected


@pytest.mark.parametrize(("name", "values"), [("fp4", (14, -20, 24, 5)), ("fp3", (5, -7, 8, 12))])
def test_special_values_of_ones_own_mean_what_was_programmed(bench, name, values):
    kind = weight_type_named(name)
    file = sum(entry_word(kind, value) << SPECIAL_BITS * s for s, value in enumerate(values))
    selectors = [s for s in range(4) for _ in range(kind.steps)]
    steps = [*range(kind.steps)] * 4
    count = len(steps)
    ports = {"kind": [type_number(name)] * count, "codes": [kind.special_code] * count}
    ports |= {"selector": selectors, "specials": [file] * count, "step": steps}
    sums = [0] * 4
    for selector, (word, _, significance, _) in zip(selectors, decoded(bench, ports), strict=True):
        sums[selector] += (-1 if word >> 3 else 1) * (word & 1) << (word >> 1 & 3) + significance
    assert sums == list(values)


def test_the_register_file_holds_the_formats_values_until_others_are_written(bench):
    kind = weight_type_named("fp4")
    values = [entry_word(kind, value) for value in (14, 14, -14, 20, 24, 14, -14)]
    writes = list(zip([0, 1, 0, 1, 1, 1, 0], [0, 2, 1, 0, 1, 3, 0], values, strict=True))
    columns = (list(column) for column in zip(*writes, strict=True))
    trace = bench.trace({"file": dict(zip(("write", "index", "value"), columns, strict=True))})["file"]
    entries = [entry_word(kind, value) for value in kind.special_values]
    held = []
    for write, index, value in writes:
        held.append(sum(entry << SPECIAL_BITS * i for i, entry in enumerate(entries)))
        if write:
            entries[index] = value
    assert trace["values"].tolist() == held and len(set(held)) == 5


def test_fewer_types_make_a_smaller_decoder_of_the_same_terms():
    decoder = RuntimeTermDecoder(types=("fp4", "fp3"), lanes=1)
    assert len(decoder.codes.as_value()) == 4 and len(decoder.significance) == 1


def test_impossible_arguments_are_refused():
    with pytest.raises(InputError, match="types must be some of int8"):
        RuntimeTermDecoder(types=("int7",))
    with pytest.raises(InputError, match="types must be some of int8"):
        RuntimeTermDecoder(types=())
    with pytest.raises(InputError, match="weight_type must be a type with special values, not 'int8'"):
        SpecialValueFile(weight_type="int8")
    kind = weight_type_named("fp4")
    with pytest.raises(InputError, match="22 cannot be a special value of fp4"):
        kind.special_entry(22)
