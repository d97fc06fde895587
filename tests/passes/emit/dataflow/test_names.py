"""Names of streams: safe, unique with all that is called after them, the same for the same model."""

import re

import pytest

from mxhw.errors import InputError
from mxhw.passes.emit.dataflow.names import KEYWORDS, check_design_name, port_names, stream_names, tap_names

IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


def test_names_are_the_models_own():
    names = stream_names(["model.layers.0.mlp.down_proj", "model.layers.0.mlp.down_proj.requantize", "lm_head"])
    assert list(names.values()) == ["layers_0_mlp_down_proj", "layers_0_mlp_down_proj_requantize", "lm_head"]


@pytest.mark.parametrize(
    "given",
    [
        ["a.b", "a_b", "a-b", "a__b", "A.B"],
        ["x", "x.valid", "x_ready", "tap.x.fire", "tap_x_payload"],
        ["clk", "rst", "module", "output", "always_ff", "0.fc", "fc", "n0.fc"],
        ["x" * 300, "x" * 301, "größe", "gr..e"],
    ],
)
def test_nothing_that_is_called_after_a_stream_collides(given):
    names = stream_names(given)
    assert len(names) == len(given)
    claimed = [part.lower() for n in names.values() for part in (n, *port_names(n), *tap_names(n))]
    assert len(set(claimed)) == len(claimed)
    for name in names.values():
        assert IDENTIFIER.fullmatch(name) and "__" not in name and len(name) <= 80
        assert name.lower() not in KEYWORDS | {"clk", "rst"}
    assert stream_names(given) == names


@pytest.mark.parametrize("name", ["", "...", "層", "model."])
def test_a_name_without_letters_or_digits_is_refused(name):
    with pytest.raises(InputError, match="no Verilog name can be made"):
        stream_names([name])


@pytest.mark.parametrize("name", ["", "0a", "a-b", "a b", "wire", "Module", "clk", "x" * 81, "../x"])
def test_a_design_must_have_a_verilog_name(name):
    with pytest.raises(InputError, match="the name of a design must be a Verilog identifier"):
        check_design_name(name)
    assert check_design_name("decoder_block") == "decoder_block"
