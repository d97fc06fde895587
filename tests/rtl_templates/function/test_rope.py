"""RoPE in hardware equals its definition under random stalls, in the stated cycles, for both pairings."""

import pytest
import torch

from mxhw.arithmetic.functions.rope import RopeSpec, rope
from mxhw.errors import InputError
from mxhw.rtl_templates.catalogue import unit_named
from mxhw.rtl_templates.function.rope import Rope
from tests.rtl_templates.bank import Bench

SPECS = {
    "half": (RopeSpec(head_dim=16, positions=40), 3),
    "interleaved": (RopeSpec(head_dim=16, positions=40, pairing="interleaved"), 3),
    "odd": (RopeSpec(head_dim=10, positions=7, fraction_bits=10, input_bits=12, theta=50.0), 1),
    "pair": (RopeSpec(head_dim=2, positions=1), 1),
}


def damaged(spec: RopeSpec) -> RopeSpec:
    """The same with the sine of the last pair and position off by one."""
    other = RopeSpec(**{name: getattr(spec, name) for name in ("head_dim", "positions", "pairing")})
    sine = spec.sine.clone()
    sine[-1, -1] += 1
    other.__dict__["sine"] = sine
    return other


@pytest.fixture(scope="module")
def bench():
    units = {name: Rope(spec=spec, heads=heads) for name, (spec, heads) in SPECS.items()}
    return Bench(units | {"damaged": Rope(spec=damaged(SPECS["half"][0]), heads=3)})


def stimulus(spec, heads, tokens, seed):
    """Vectors with extremes among them, and every position before one comes again."""
    generator = torch.Generator().manual_seed(seed)
    limit = 1 << spec.input_bits - 1
    x = torch.randint(-limit, limit, (tokens, heads, spec.head_dim), generator=generator)
    kind = torch.randint(0, 4, (tokens, heads, 1), generator=generator)
    x = torch.where(kind == 1, torch.where(x < 0, -limit, limit - 1), torch.where(kind == 2, -limit, x))
    order = torch.randperm(spec.positions, generator=generator)
    return x, order.repeat(-(-tokens // spec.positions))[:tokens]


def inputs(x, position):
    return {"x": x.flatten().numpy(), "position": position.numpy()}


@pytest.mark.parametrize("stall", [0.0, 0.3, 0.8])
@pytest.mark.parametrize("name", SPECS)
def test_every_output_is_that_of_the_definition(bench, name, stall):
    spec, heads = SPECS[name]
    for seed in (1, 2):
        x, position = stimulus(spec, heads, 41, seed)
        expected = rope(x, position[:, None], spec).flatten().tolist()
        assert bench.y(name, inputs(x, position), len(expected), stall=stall, seed=seed) == expected


@pytest.mark.parametrize("tokens", [1, 9])
@pytest.mark.parametrize("name", SPECS)
def test_an_element_a_cycle_after_one_group(bench, name, tokens):
    spec, heads = SPECS[name]
    x, position = stimulus(spec, heads, tokens, 3)
    run = bench.run(name, inputs(x, position), x.numel())
    assert run.cycles == tokens * heads * spec.head_dim + 2 * spec.span + 3


def test_a_table_entry_off_by_one_is_found(bench):
    spec, heads = SPECS["half"]
    x, position = stimulus(spec, heads, 40, 1)
    expected = rope(x, position[:, None], spec).flatten()
    found = torch.tensor(bench.y("damaged", inputs(x, position), x.numel(), stall=0.3))
    wrong = (found != expected).view(40, heads, 16)
    assert wrong.any()
    assert torch.equal(wrong.any(2).any(1), position == 39) and set(wrong.any(0).any(0).nonzero()[:, 0].tolist()) == {
        7,
        15,
    }


def test_the_width_is_reached_by_the_largest_sums(bench):
    """All-extreme vectors at every position: the sums need all bits, and none overflows."""
    spec, heads = SPECS["half"]
    signs = torch.cartesian_prod(*[torch.tensor([-32768, 32767])] * 2).repeat_interleave(8, 1)
    x = signs[:, None, None].expand(4, 40, heads, 16).reshape(160, heads, 16)
    position = torch.arange(40).repeat(4)
    found = torch.tensor(bench.y("half", inputs(x, position), x.numel()))
    assert torch.equal(found, rope(x, position[:, None], spec).flatten())
    assert found.abs().max() >= 1 << spec.output_bits - 2


def test_its_verilog_is_clean(bench):
    assert bench.complaints() == ""


def test_the_catalogue_has_both_pairings():
    unit = unit_named("rope")
    made = [unit.make(pairing=pairing, head_dim=16, positions=8, heads=2) for pairing in unit.choices["pairing"]]
    assert sorted(rope.spec.pairing for rope in made) == ["half", "interleaved"]


def test_impossible_parameters_are_refused():
    with pytest.raises(InputError, match="heads must be an integer of at least 1, not 0"):
        Rope(spec=SPECS["half"][0], heads=0)
    with pytest.raises(InputError, match="head_dim must be even, not 9"):
        unit_named("rope").make(head_dim=9)
