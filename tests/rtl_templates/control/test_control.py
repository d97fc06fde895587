"""Control of a language model: every unit is its definition under any stalls; closed in a loop, they talk.

Late and early arg-maxes come from the stalls: each stream pauses on its own, and an arg-max may be offered long before
its request is taken.
"""

from typing import Any

import pytest
import torch
from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value

from mxhw.arithmetic.dataflow import ArgMax, Enter, Field, Integers, Keep, Passes, PassOrder, Requests, TokenSelect
from mxhw.errors import InputError
from mxhw.rtl_templates.catalogue import unit_named
from mxhw.rtl_templates.control import ArgMaxUnit, EnterUnit, FieldUnit, KeepUnit, PassOrderUnit, TokenSelectUnit
from mxhw.rtl_templates.control import arg_max as arg_max_module
from mxhw.sim import StreamError
from tests.arithmetic.dataflow.control_cases import drawn_requests, pass_values, passes_of, payloads, request_values
from tests.rtl_templates.bank import Bench, damaged
from tests.rtl_templates.control.loop import Loop, Model
from tests.rtl_templates.dataflow.streams import integer_beats, mantissas

STALLS = [(0.0, 0), (0.3, 1), (0.3, 2), (0.7, 3)]
COUNT = 150

# Vocabulary, sequences, keys.
KINDS = {
    name: Requests(vocabulary=vocabulary, sequences=sequences, keys=keys)
    for name, (vocabulary, sequences, keys) in {"least": (2, 1, 1), "odd": (300, 3, 21), "even": (256, 4, 32)}.items()
}
# Kind, layers, chunk.
ORDERS = {
    "order_one_layer": ("odd", 1, 4),
    "order_alone": ("least", 2, 1),
    "order": ("odd", 3, 4),
    "order_long": ("even", 5, 9),
}
TOKENS = {"tokens_least": ("least", 1), "tokens": ("odd", 4), "tokens_even": ("even", 9)}  # kind, chunk
PASSES = Passes(layers=3, sequences=3, keys=21)
FIELDS = {
    **{f"field_{name}": Field(x=PASSES, name=name) for name in ("position", "sequence", "layer", "bank")},
    "field_of_requests": Field(x=KINDS["odd"], name="position"),
}
VECTORS = {"": (12, 10, 1), "_lanes": (12, 24, 4), "_beat": (4, 20, 4)}  # length, bits, lanes
WHICH = ("returned", "final")
ARG_MAXES = {"": (300, 9, 1), "_lanes": (32, 7, 4), "_odd": (15, 16, 5), "_beat": (3, 4, 3), "_two": (2, 16, 1)}
CHUNK = 3
TALK = Requests(vocabulary=16, sequences=2, keys=8)
MODEL = Model(TALK.vocabulary, 3)


def order_unit(kind: str, layers: int, chunk: int) -> PassOrderUnit:
    return PassOrderUnit(kind=KINDS[kind], layers=layers, chunk=chunk)


def sizes(length: int, bits: int, lanes: int) -> dict[str, int]:
    return {"length": length, "bits": bits, "lanes": lanes}


class TokenByToken(PassOrderUnit):
    """All layers of a token, then the next token."""

    def _read(self, m: Module, ram: Any, advance: Value, written: Value, complete: Value) -> Value:
        layer, index = Signal(range(self._layers)), Signal(range(self._chunk))
        reads = advance & (index < written)
        is_last = layer == self._layers - 1
        ends = reads & is_last & complete & (index + 1 == written)
        m.d.comb += [ram.enable.eq(reads), ram.address.eq(index)]
        m.d.comb += Cat(self.y.payload[name] for name in ("position", "sequence", "logits")).eq(ram.data)
        with m.If(advance):
            m.d.sync += self.y.valid.eq(reads)
        with m.If(reads):
            m.d.sync += [self.y.payload.layer.eq(layer), layer.eq(Mux(is_last, 0, layer + 1))]
            with m.If(is_last):
                m.d.sync += index.eq(Mux(ends, 0, index + 1))
        return ends


class Hasty(TokenSelectUnit):
    """Takes the newest arg-max that has come, whether or not a newer one is awaited."""

    def _newest(self, m: Module, *events: Value) -> tuple[Value, Value]:
        return super()._newest(m, *events)[0], Const(1)


class OfAnyone(TokenSelectUnit):
    """Takes the arg-max of another sequence, if that is the newest one."""

    def _newest(self, m: Module, asks: Value, arrives: Value, arrived: Value) -> tuple[Value, Value]:
        newest = Signal(self.y.payload.shape())
        with m.If(arrives):
            m.d.sync += newest.eq(self.feedback.payload)
        return newest, super()._newest(m, asks, arrives, arrived)[1]


class Queue(TokenSelectUnit):
    """One whose queue has another length."""

    capacity = 0

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity  # type: ignore[misc]
        super().__init__(kind=TALK, chunk=CHUNK)


class AllLogits(KeepUnit):
    """Keeps what the last layer gives, wanted or not."""

    def elaborate(self, platform: Any) -> Module:
        self._which = "returned"
        self._layers = -1  # no layer is the last one
        return super().elaborate(platform)


def last_of_equals(first: Any, second: Any, anyway: Any = 0) -> tuple[Value, Value]:
    takes = (second[0] >= first[0]) | anyway
    return Mux(takes, second[0], first[0]), Mux(takes, second[1], first[1])


def token_units() -> dict[str, TokenSelectUnit]:
    units: dict[str, TokenSelectUnit] = {}
    for name, (kind, chunk) in TOKENS.items():
        units[name] = TokenSelectUnit(kind=KINDS[kind], chunk=chunk)
    return units | {"hasty": Hasty(kind=KINDS["odd"], chunk=4), "of_anyone": OfAnyone(kind=KINDS["odd"], chunk=4)}


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench(
        {name: order_unit(*given) for name, given in ORDERS.items()}
        | {name: FieldUnit(operation=operation) for name, operation in FIELDS.items()}
        | token_units()
        | {f"enter{name}": EnterUnit(kind=PASSES, **sizes(*given)) for name, given in VECTORS.items()}
        | {
            f"{which}{name}": KeepUnit(kind=PASSES, which=which, **sizes(*given))  # type: ignore[arg-type]
            for name, given in VECTORS.items()
            for which in WHICH
        }
        | {f"arg_max{name}": ArgMaxUnit(**sizes(*given)) for name, given in ARG_MAXES.items()}
        | {
            "token_by_token": TokenByToken(kind=KINDS["odd"], layers=3, chunk=4),
            "all_logits": AllLogits(kind=PASSES, which="final", **sizes(*VECTORS[""])),
            "last_of_equals": damaged(
                ArgMaxUnit(**sizes(*ARG_MAXES["_lanes"])), arg_max_module, _better=last_of_equals
            ),
            "loop": Loop(TALK, MODEL, CHUNK, TokenSelectUnit(kind=TALK, chunk=CHUNK)),
            "loop_of_a_chunk": Loop(TALK, MODEL, CHUNK, Queue(CHUNK)),
            "loop_too_short": Loop(TALK, MODEL, CHUNK, Queue(CHUNK - 1)),
        }
    )


def test_verilator_has_no_complaint(bench: Bench) -> None:
    assert bench.complaints() == ""


def ordered(kind: Requests, layers: int, chunk: int, seed: int, last: float = 0.2) -> tuple[list[int], list[int]]:
    """Payloads of requests, and of the passes of their definition."""
    asked = drawn_requests(kind, chunk, COUNT, seed, last=last)
    passes = PassOrder(x=kind, layers=layers, chunk=chunk).run(request_values(asked))
    columns = torch.stack([passes.position[0], passes.sequence[0], passes.layer[0], passes.logits[0]], -1)
    output = Passes(layers=layers, sequences=kind.sequences, keys=kind.keys)
    expected = payloads(output, passes_of(asked, layers, chunk))
    assert columns.tolist() == [list(vars(one).values()) for one in passes_of(asked, layers, chunk)]
    return payloads(kind, asked), expected


@pytest.mark.parametrize("stall,seed", STALLS)
@pytest.mark.parametrize("name", ORDERS)
def test_passes_are_in_their_order(bench: Bench, name: str, stall: float, seed: int) -> None:
    kind, layers, chunk = ORDERS[name]
    for last in (0.0, 0.2, 1.0):
        requests, expected = ordered(KINDS[kind], layers, chunk, seed, last)
        assert bench.y(name, {"requests": requests}, len(expected), stall=stall, seed=seed) == expected


def test_another_order_of_passes_is_caught(bench: Bench) -> None:
    requests, expected = ordered(KINDS["odd"], 3, 4, 0)
    found = bench.y("token_by_token", {"requests": requests}, len(expected))
    assert found != expected and sorted(found) == sorted(expected)


def test_the_first_layer_does_not_wait_for_the_end_of_the_chunk(bench: Bench) -> None:
    requests, expected = ordered(KINDS["even"], 5, 9, 0, last=0.0)
    found = bench.y("order_long", {"requests": requests[:5]}, 5)
    assert found == expected[:5]
    with pytest.raises(StreamError):
        bench.y("order_long", {"requests": requests[:5]}, 6, limit=200)


@pytest.mark.parametrize("stall,seed", STALLS)
@pytest.mark.parametrize("name", FIELDS)
def test_a_field_passes_through(bench: Bench, name: str, stall: float, seed: int) -> None:
    operation = FIELDS[name]
    asked = drawn_requests(KINDS["odd"], 4, COUNT, seed)
    if isinstance(operation.x, Requests):
        x, expected = payloads(operation.x, asked), operation.run(request_values(asked))
    else:
        passes = passes_of(asked, 3, 4)
        x, expected = payloads(PASSES, passes), operation.run(pass_values(passes))
    assert bench.y(name, {"x": x}, len(x), stall=stall, seed=seed) == expected[0].tolist()


def selected(kind: Requests, chunk: int, seed: int, **shares: float) -> tuple[dict[str, list[int]], list[int]]:
    """Payloads of requests and arg-maxes, and the tokens of the definition."""
    asked = drawn_requests(kind, chunk, COUNT, seed, **shares)
    feedback = torch.randint(0, kind.vocabulary, (1, sum(one.logits for one in asked)))
    tokens = TokenSelect(x=kind, chunk=chunk).run(request_values(asked), feedback)
    return {"requests": payloads(kind, asked), "feedback": feedback[0].tolist()}, tokens[0].tolist()


@pytest.mark.parametrize("stall,seed", STALLS)
@pytest.mark.parametrize("name", TOKENS)
def test_tokens_are_given_or_generated(bench: Bench, name: str, stall: float, seed: int) -> None:
    kind, chunk = TOKENS[name]
    for shares in ({}, {"logits": 1.0}, {"logits": 0.9, "generated": 0.9, "last": 0.9}):
        inputs, expected = selected(KINDS[kind], chunk, seed, **shares)
        assert bench.y(name, inputs, COUNT, stall=stall, seed=seed) == expected


@pytest.mark.parametrize("name", ["hasty", "of_anyone"])
def test_a_token_of_other_logits_is_caught(bench: Bench, name: str) -> None:
    inputs, expected = selected(KINDS["odd"], 4, 1)
    assert bench.y(name, inputs, COUNT, stall=0.3, seed=1) != expected


def test_arg_maxes_are_taken_while_tokens_are_held_up(bench: Bench) -> None:
    """No token moves, yet the arg-maxes of the requests in front of it do."""
    asked = [*drawn_requests(KINDS["odd"], 1, 1, 0, logits=1.0, generated=0.0)] * 2
    inputs = {"requests": payloads(KINDS["odd"], asked), "feedback": [5, 6]}
    columns: dict[str, Any] = {"y__ready": [0] * 40}
    columns |= {"requests__valid": [1] * 40, "requests__payload": [inputs["requests"][0]] * 40}
    columns |= {"feedback__valid": [1] * 40, "feedback__payload": [5] * 40}
    found = bench.trace({"tokens": columns})["tokens"]
    assert sum(found["requests__ready"]) == 1 == sum(found["feedback__ready"])


def vectors(shape: str, seed: int) -> tuple[Any, Any, torch.Tensor, int, int]:
    """Passes as value and as payloads, a vector for each, and how they are cut."""
    length, bits, lanes = VECTORS[shape]
    passes = passes_of(drawn_requests(KINDS["odd"], 4, COUNT // 3, seed), 3, 4)
    return pass_values(passes), payloads(PASSES, passes), mantissas(len(passes), length, seed, bits), bits, lanes


def operands(shape: str) -> dict[str, Any]:
    length, bits, _ = VECTORS[shape]
    return {"x": Integers(length=length, bits=bits, exponent=0), "passes": PASSES}


def masked(found: list[int], bits: int, lanes: int) -> list[int]:
    return [beat & (1 << bits * lanes) - 1 for beat in found]


@pytest.mark.parametrize("stall,seed", STALLS)
@pytest.mark.parametrize("shape", VECTORS)
def test_vectors_enter_in_the_order_of_passes(bench: Bench, shape: str, stall: float, seed: int) -> None:
    value, passes, x, bits, lanes = vectors(shape, seed)
    first = value.layer[0] == 0
    embedded, returned = x[:, first], x[:, ~first].flip(1)
    expected = integer_beats(Enter(**operands(shape)).run(value, embedded, returned), bits, lanes)
    inputs = {
        "passes": passes,
        "embedded": integer_beats(embedded, bits, lanes),
        "returned": integer_beats(returned, bits, lanes),
    }
    run = bench.run(f"enter{shape}", inputs, len(expected), stall=stall, seed=seed)
    assert masked(run.ints("y"), bits, lanes) == expected
    assert stall or run.cycles == len(expected)


@pytest.mark.parametrize("stall,seed", STALLS)
@pytest.mark.parametrize("which", WHICH)
@pytest.mark.parametrize("shape", VECTORS)
def test_vectors_are_kept_or_dropped(bench: Bench, shape: str, which: Any, stall: float, seed: int) -> None:
    value, passes, x, bits, lanes = vectors(shape, seed)
    expected = integer_beats(Keep(which=which, **operands(shape)).run(value, x), bits, lanes)
    inputs = {"passes": passes, "x": integer_beats(x, bits, lanes)}
    found = bench.y(f"{which}{shape}", inputs, len(expected), stall=stall, seed=seed)
    assert masked(found, bits, lanes) == expected


def test_vectors_of_logits_that_nobody_wants_are_caught(bench: Bench) -> None:
    value, passes, x, bits, lanes = vectors("", 1)
    expected = integer_beats(Keep(which="final", **operands("")).run(value, x), bits, lanes)
    inputs = {"passes": passes, "x": integer_beats(x, bits, lanes)}
    with pytest.raises(StreamError):
        bench.y("all_logits", inputs, len(expected))


def drawn_maxima(length: int, bits: int, lanes: int, seed: int) -> tuple[list[int], list[int]]:
    """Beats and indices of vectors of all sizes; half of them of few different elements, so that there are equals."""
    x = mantissas(40, length, seed, bits)
    x[:, ::2] = torch.randint(-1, 2, x[:, ::2].shape)
    indices = ArgMax(x=Integers(length=length, bits=bits, exponent=0)).run(x)
    return integer_beats(x, bits, lanes), indices[0].tolist()


@pytest.mark.parametrize("stall,seed", STALLS)
@pytest.mark.parametrize("shape", ARG_MAXES)
def test_the_first_of_the_largest_is_found(bench: Bench, shape: str, stall: float, seed: int) -> None:
    x, expected = drawn_maxima(*ARG_MAXES[shape], seed)
    run = bench.run(f"arg_max{shape}", {"x": x}, len(expected), stall=stall, seed=seed)
    assert run.ints("y") == expected
    assert stall or run.cycles == len(x) + bench.units[f"arg_max{shape}"].latency


def test_the_last_of_equals_is_caught(bench: Bench) -> None:
    x, expected = drawn_maxima(*ARG_MAXES["_lanes"], 0)
    found = bench.y("last_of_equals", {"x": x}, len(expected))
    assert any(a > b for a, b in zip(found, expected, strict=True))
    assert all(a >= b for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("stall,seed", STALLS)
@pytest.mark.parametrize("name", ["loop", "loop_of_a_chunk"])
def test_a_model_talks(bench: Bench, name: str, stall: float, seed: int) -> None:
    """Two sequences, generation from the arg-max of the chunk before; a queue of one chunk is enough, too."""
    for shares in ({}, {"logits": 1.0, "last": 0.0}, {"logits": 0.9, "generated": 0.9, "last": 0.6}):
        asked = drawn_requests(TALK, CHUNK, 60, seed, **shares)
        expected = MODEL.talk(asked)
        assert bench.y(name, {"requests": payloads(TALK, asked)}, len(expected), stall=stall, seed=seed) == expected
        assert len(set(expected)) > 3


def test_a_queue_shorter_than_a_chunk_stops(bench: Bench) -> None:
    asked = drawn_requests(TALK, CHUNK, 60, 0, logits=1.0, last=0.0)
    with pytest.raises(StreamError, match="0 of 60"):
        bench.y("loop_too_short", {"requests": payloads(TALK, asked)}, 60, limit=1000)


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("pass_order", {"chunk": 0}, "chunk must be an integer of at least 1, not 0"),
        ("pass_order", {"layers": 0}, "layers must be an integer of at least 1, not 0"),
        ("pass_order", {"keys": 0}, "keys must be an integer of at least 1, not 0"),
        ("token_select", {"vocabulary": 0}, "vocabulary must be an integer of at least 1, not 0"),
        ("pass_field", {"name": "token"}, "name of unit pass_field must be one of position, sequence, layer, bank"),
        ("enter", {"lanes": 3}, "lanes must be a divisor of the length of 64, not 3"),
        ("keep", {"which": "first"}, "which of unit keep must be one of returned, final, not 'first'"),
        ("arg_max", {"lanes": 0}, "lanes must be an integer of at least 1, not 0"),
    ],
)
def test_impossible_parameters_are_refused(name: str, given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        unit_named(name).make(**given)
