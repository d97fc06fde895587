"""The catalogue: every unit can be made, names its parameters, and refuses what is impossible with the bound."""

import pytest

from mxhw.errors import InputError
from mxhw.rtl_templates import catalogue
from mxhw.rtl_templates.catalogue import register_unit, unit_named, unit_templates
from mxhw.rtl_templates.stream import SkidBuffer
from mxhw.rtl_templates.template import UnitTemplate

UNITS = unit_templates()


@pytest.mark.parametrize("name", UNITS)
def test_every_unit_is_made_at_its_defaults_and_variants(name):
    unit = UNITS[name]
    assert unit.name == name and name.isidentifier() and unit.description
    assert set(unit.choices) <= set(unit.parameters)
    for given in ({}, *unit.variants):
        assert all(isinstance(value, int | str | bool | None) for value in unit.complete(given).values())
        assert unit.make(**given).signature.members
        assert unit.macs_per_cycle is None or unit.macs_per_cycle(**unit.complete(given)) > 0


IMPOSSIBLE = [
    ("dialect_mac", {"lanes": 0}, "lanes must be an integer of at least 1, not 0"),
    ("dialect_mac", {"lanes": 5}, "lanes must be a divisor of the block of 32, not 5"),
    ("dialect_mac", {"accumulator": 13}, "accumulator must be an integer of at least 14 bits"),
    ("dialect_pe", {"lanes": 3}, "lanes must be a divisor of the block of 32, not 3"),
    ("block_pe", {"lanes": 3}, "lanes must be a divisor of the block of 32, not 3"),
    ("block_pe", {"accumulator": 5}, "accumulator must be an integer of at least 43 bits"),
    ("mxint_mac", {"lanes": 3}, "lanes must be a divisor of the block of 32, not 3"),
    ("int_mac", {"accumulator": 23}, "accumulator must be an integer of at least 24 bits"),
    ("bitmod_pe", {"lanes": 0}, "lanes must be an integer of at least 1, not 0"),
    ("bitmod_pe", {"lanes": 3}, "lanes must be a divisor of the group of 128, not 3"),
    ("bitmod_pe", {"group": 16}, "cycles of a group must be at least the 8 bits of its scale"),
    ("bitmod_int_pe", {"lanes": 3}, "lanes must be a divisor of the group of 128, not 3"),
    ("bitmod_int_pe", {"group": 8}, "cycles of a group must be at least the 8 bits of its scale"),
    ("streamed_block_gemm", {"lanes": 3}, "lanes must be a divisor of the block of 32, not 3"),
    ("streamed_block_gemm", {"accumulator": 8}, "accumulator must be an integer of at least 43 bits"),
    ("streamed_bitmod_gemm", {"group": 8}, "cycles of a group must be at least the 8 bits of its scale"),
    ("streamed_bitmod_gemm", {"accumulator": 8}, "accumulator must be an integer of at least 35 bits"),
    ("dialect_encoder", {"lanes": 5}, "lanes must be a divisor of the block of 32, not 5"),
    ("mx_encoder", {"lanes": 3}, "lanes must be a divisor of the block of 32, not 3"),
    ("integer_encoder", {"bits": 1}, "bits must be 2 to 16, not 1"),
    ("rms_norm", {"lanes": 3}, "lanes must be a divisor of the length"),
    ("rope", {"head_dim": 3}, "head_dim must be even, not 3"),
    ("softmax", {"keys": 0}, "keys must be an integer of at least 1, not 0"),
    ("fifo", {"depth": -1}, "depth must be an integer of at least 0, not -1"),
    ("stream_fork", {"outputs": 0}, "outputs must be an integer of at least 1, not 0"),
    ("tile_order_converter", {"tile_columns": 5}, "tile_columns must be a divisor of the 32 columns, not 5"),
]


@pytest.mark.parametrize(("name", "given", "message"), IMPOSSIBLE)
def test_impossible_parameters_are_refused_with_their_bound(name, given, message):
    with pytest.raises(InputError) as refused:
        unit_named(name).make(**given)
    assert message in str(refused.value)


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(InputError, match="did you mean 'dialect_mac'"):
        unit_named("dialect_max")
    with pytest.raises(InputError, match="did you mean 'lanes'"):
        unit_named("dialect_mac").make(lane=1)


def test_a_unit_of_ones_own_joins_the_catalogue_under_a_free_name(monkeypatch):
    monkeypatch.setattr(catalogue, "_REGISTERED", {})

    def build(width: int = 4) -> SkidBuffer:
        return SkidBuffer(shape=width)

    own = UnitTemplate(name="own_skid", kind="stream", description="mine", build=build)
    register_unit(own)
    assert unit_named("own_skid") is own
    for taken in (own, UnitTemplate(name="fifo", kind="stream", description="theirs", build=build)):
        with pytest.raises(InputError, match="already a unit"):
            register_unit(taken)
    with pytest.raises(InputError, match="must be an identifier"):
        register_unit(UnitTemplate(name="own-skid", kind="stream", description="mine", build=build))
