"""Names: every documented one parses, mistakes get the nearest name, users add their own."""

import pytest

from mxhw.errors import InputError
from mxhw.formats import known_formats, parse_format, register_format
from mxhw.formats import registry as registry_module

DOCUMENTED = [
    *("fp32", "bf16", "fp16", "int8", "int4-g128", "int4-g128-asym", "int8-tensor", "int8-e8m0", "int4-g128-s8"),
    *("mxfp4", "mxfp6-e2m3", "mxfp6-e3m2", "mxfp8-e4m3", "mxfp8-e5m2", "mxint8", "mxint2"),
    *("mxfp4-rceil", "mxfp4-ceil", "mxfp4-even", "mxfp4-mse", "mxfp4-b16", "mxint4-b4x8", "mxint4-b4x8-mse"),
    *("nvfp4", "nvfp4-46", "razer", "razer-online", "nf4-g64", "nf4-g64-sf16", "nf4-g64-sbf16", "nf4-g64-s8"),
    *("fp8-e4m3", "fp8-e5m2", "fp8-e4m3-g128", "fp8-e5m2-tensor-sf16", "fp8-e4m3-unscaled", "fp8-e5m2-unscaled"),
    *("bitmod3", "bitmod4", "bitmod4-sf32", "bitmod4-sf16", "dialect4", "dialect4-b16", "dialect4-b64"),
    *("bitmod4-sv8", "bitmod4-clip", "bitmod3-g64", "bitmod3-oneterm", "bitmod3-oneterm-clip-g64-sf16"),
    *("dialect4-online", "dialect4-online-b16", "dialect4-online-b64", "dialect4-search", "dialect4-search-b16"),
]


@pytest.mark.parametrize("name", DOCUMENTED)
def test_documented_names_parse_to_a_format_of_that_name(name):
    assert parse_format(name).name == name
    assert parse_format(name) is parse_format(name)
    assert parse_format(parse_format(name)) is parse_format(name)


@pytest.mark.parametrize(
    ("wrong", "right"), [("dialct4", "dialect4"), ("mxfp44", "mxfp4"), ("bitmd4", "bitmod4"), ("Int8", "int8")]
)
def test_a_mistyped_name_gets_the_nearest_one(wrong, right):
    with pytest.raises(InputError, match=f"unknown format '{wrong}'; did you mean '{right}'"):
        parse_format(wrong)


@pytest.mark.parametrize("wrong", ["", "int", "int8-", "mxint", "xyzzy", "int4-g", "mxfp4-round", "dialect4-b"])
def test_an_unknown_name_lists_what_is_known(wrong):
    with pytest.raises(InputError, match=r"known: .*mxfp4"):
        parse_format(wrong)


def test_a_registered_format_is_found_and_listed(monkeypatch):
    monkeypatch.setattr(registry_module, "_families", list(registry_module._families))
    monkeypatch.setattr(registry_module, "_cache", {})
    mine = parse_format("int5-g20")
    register_format("mine", "integers as I like them", lambda name: mine if name == "mine" else None)
    assert parse_format("mine") is mine
    assert ("mine", "integers as I like them") in known_formats()
    with pytest.raises(InputError, match="'mine' is registered already"):
        register_format("mine", "again", lambda name: None)


def test_descriptions_are_one_line():
    assert all(text and "\n" not in text for _, text in known_formats())
