"""Control of a language model: order of passes, tokens, who enters and who leaves, against loops over Python ints."""

from dataclasses import astuple

import pytest
import torch

from mxhw.arithmetic.dataflow import ArgMax, Enter, Field, Integers, Keep, Passes, PassOrder, Requests, TokenSelect
from mxhw.arithmetic.dataflow.control import chunk_numbers
from mxhw.errors import InputError
from tests.arithmetic.dataflow.control_cases import (
    Asked,
    drawn_requests,
    pass_values,
    passes_of,
    request_values,
    tokens_of,
)

KIND = Requests(vocabulary=300, sequences=3, keys=20)
SEEDS = range(12)
HIDDEN = Integers(length=4, bits=16, exponent=-3)


def rows(value: object) -> list[tuple[int, ...]]:
    """The tokens of a value of requests or passes."""
    return [tuple(row) for row in torch.stack([column[0] for column in vars(value).values()], -1).tolist()]


@pytest.mark.parametrize("layers,chunk", [(1, 3), (2, 1), (3, 4), (5, 40)])
@pytest.mark.parametrize("seed", SEEDS)
def test_passes_go_chunk_by_chunk_then_layer_by_layer(layers: int, chunk: int, seed: int) -> None:
    asked = drawn_requests(KIND, chunk, 40, seed)
    expected = passes_of(asked, layers, chunk)
    order = PassOrder(x=KIND, layers=layers, chunk=chunk)
    found = order.run(request_values(asked))
    assert rows(found) == [astuple(one) for one in expected] == rows(pass_values(expected))
    assert order.output == Passes(layers=layers, sequences=3, keys=20) and found.shape == (1, 40 * layers)


@pytest.mark.parametrize("chunk", [1, 2, 5])
def test_chunks_end_where_asked_and_where_they_are_full(chunk: int) -> None:
    asked = drawn_requests(KIND, chunk, 200, 0)
    number, inside, expected = 0, 0, []
    for one in asked:
        expected.append(number)
        inside += 1
        if one.last or inside == chunk:
            number, inside = number + 1, 0
    assert chunk_numbers(request_values(asked).last[0], chunk).tolist() == expected


def test_fields_are_those_of_the_stream() -> None:
    asked = drawn_requests(KIND, 4, 40, 0)
    passes = passes_of(asked, 5, 4)
    kind, value = Passes(layers=5, sequences=3, keys=20), pass_values(passes)
    for name, count in (("position", 20), ("sequence", 3), ("layer", 5)):
        field = Field(x=kind, name=name)
        assert field.output.count == count
        assert field.run(value).tolist() == [[getattr(one, name) for one in passes]]
    bank = Field(x=kind, name="bank")
    assert bank.output.count == 15
    assert bank.run(value).tolist() == [[one.layer * 3 + one.sequence for one in passes]]
    assert Field(x=KIND, name="position").run(request_values(asked)).tolist() == [[one.position for one in asked]]
    with pytest.raises(InputError, match="name must be one of position, sequence, not 'bank'"):
        Field(x=KIND, name="bank")


@pytest.mark.parametrize("chunk", [1, 4])
@pytest.mark.parametrize("seed", SEEDS)
def test_tokens_are_given_or_what_the_arg_max_said_last(chunk: int, seed: int) -> None:
    asked = drawn_requests(KIND, chunk, 60, seed)
    feedback = torch.randint(0, 300, (1, sum(one.logits for one in asked)))
    found = TokenSelect(x=KIND, chunk=chunk).run(request_values(asked), feedback)
    assert found.tolist() == [tokens_of(asked, feedback[0].tolist())]
    assert any(one.generated for one in asked)


def asked(*, generated: int = 0, logits: int = 0, last: int = 0, sequence: int = 0) -> Asked:
    return Asked(token=7, position=0, sequence=sequence, generated=generated, logits=logits, last=last)


def test_a_sequence_without_logits_generates_token_0() -> None:
    requests = request_values([asked(logits=1, last=1), asked(generated=1, sequence=1, last=1)])
    assert TokenSelect(x=KIND, chunk=4).run(requests, torch.tensor([[9]])).tolist() == [[7, 0]]


def test_a_chunk_does_not_wait_for_its_own_logits() -> None:
    feedback = torch.tensor([[9]])
    for last, chunk in ((1, 4), (0, 1)):
        requests = request_values([asked(logits=1, last=last), asked(generated=1, last=1)])
        assert TokenSelect(x=KIND, chunk=chunk).run(requests, feedback).tolist() == [[7, 9]]
    requests = request_values([asked(last=1), asked(logits=1), asked(generated=1, last=1)])
    with pytest.raises(InputError, match="request 2 takes the arg-max of logits of its own chunk"):
        TokenSelect(x=KIND, chunk=4).run(requests, feedback)
    with pytest.raises(InputError, match="feedback must be the arg-max of 1 logits, not 2 tokens"):
        TokenSelect(x=KIND, chunk=4).run(requests, torch.tensor([[9, 9]]))


def test_a_run_ends_with_a_chunk() -> None:
    requests = request_values([asked(last=1), asked()])
    assert PassOrder(x=KIND, layers=1, chunk=4).run(requests).shape == (1, 2)
    assert PassOrder(x=KIND, layers=2, chunk=1).run(requests).shape == (1, 4)
    with pytest.raises(InputError, match="must end its chunk; only 1 of 4 are there"):
        PassOrder(x=KIND, layers=2, chunk=4).run(requests)


@pytest.mark.parametrize("seed", SEEDS)
def test_vectors_enter_return_and_leave(seed: int) -> None:
    kind = Passes(layers=3, sequences=3, keys=20)
    passes = passes_of(drawn_requests(KIND, 4, 20, seed), 3, 4)
    value = pass_values(passes)
    embedded, returned = iter(torch.arange(20 * 4).reshape(20, 4)), iter(-torch.arange(40 * 4).reshape(40, 4))
    expected = torch.stack([next(returned if one.layer else embedded) for one in passes])[None]
    enter = Enter(x=HIDDEN, passes=kind)
    x = enter.run(value, torch.arange(20 * 4).reshape(1, 20, 4), -torch.arange(40 * 4).reshape(1, 40, 4))
    assert torch.equal(x, expected)
    back = [i for i, one in enumerate(passes) if one.layer < 2]
    final = [i for i, one in enumerate(passes) if one.layer == 2 and one.logits]
    assert torch.equal(Keep(x=HIDDEN, passes=kind, which="returned").run(value, x), x[:, back])
    assert torch.equal(Keep(x=HIDDEN, passes=kind, which="final").run(value, x), x[:, final])
    with pytest.raises(InputError, match="embedded must have a vector for each of 20 passes, not 19"):
        enter.run(value, torch.zeros(1, 19, 4, dtype=torch.int64), torch.zeros(1, 40, 4, dtype=torch.int64))
    with pytest.raises(InputError, match="x must have a vector for each of 60 passes, not 59"):
        Keep(x=HIDDEN, passes=kind, which="final").run(value, x[:, 1:])


def test_the_first_of_the_largest_elements_counts() -> None:
    x = torch.randint(-3, 4, (2, 200, 9))
    expected = [[row.index(max(row)) for row in rows] for rows in x.tolist()]
    operation = ArgMax(x=Integers(length=9, bits=3, exponent=0))
    assert operation.run(x).tolist() == expected and operation.output.count == 9


def test_impossible_parameters_are_refused() -> None:
    alone = Passes(layers=1, sequences=1, keys=4)
    with pytest.raises(InputError, match="layers must be an integer of at least 1, not 0"):
        PassOrder(x=KIND, layers=0, chunk=4)
    with pytest.raises(InputError, match="chunk must be an integer of at least 1, not 0"):
        TokenSelect(x=KIND, chunk=0)
    with pytest.raises(InputError, match="layers must be at least 2 where something returns, not 1"):
        Enter(x=HIDDEN, passes=alone)
    with pytest.raises(InputError, match="layers must be at least 2 where something returns, not 1"):
        Keep(x=HIDDEN, passes=alone, which="returned")
    with pytest.raises(InputError, match="which must be one of returned, final, not 'first'"):
        Keep(x=HIDDEN, passes=alone, which="first")  # type: ignore[arg-type]
    assert Keep(x=HIDDEN, passes=alone, which="final").output == HIDDEN
