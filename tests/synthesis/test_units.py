"""`NAME:parameter=value` names a unit of the catalogue, or is refused in one line."""

import pytest

from mxhw.errors import InputError
from mxhw.rtl_templates.catalogue import unit_templates
from mxhw.rtl_templates.template import UnitTemplate
from mxhw.synthesis import describe_units, parse_unit, units
from tests.synthesis.designs import Adder


def _build(width: int = 4, form: str = "ripple", signed: bool = False, limit: int | None = None) -> Adder:
    if width < 1:
        raise InputError(f"width must be at least 1, not {width!r}")
    return Adder(width)


ADDER = UnitTemplate(
    name="adder",
    kind="mac",
    description="a sum",
    build=_build,
    choices={"form": ("ripple", "tree", "8")},
    macs_per_cycle=lambda width=4, **_: width / 4,
)


@pytest.fixture(autouse=True)
def _catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(units, "unit_named", {"adder": ADDER}.__getitem__)


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ("adder", {}),
        ("adder:width=8", {"width": 8}),
        ("adder:width=0x10, form=tree", {"width": 16, "form": "tree"}),
        ("adder:form=8", {"form": "8"}),
        ("adder:signed=true,limit=3", {"signed": True, "limit": 3}),
        ("adder:signed=False,limit=none", {}),
    ],
)
def test_parameters_have_the_kind_of_their_defaults(text: str, changed: dict[str, object]) -> None:
    choice = parse_unit(text)
    assert choice.parameters == {"width": 4, "form": "ripple", "signed": False, "limit": None} | changed
    assert choice.label == text
    assert choice.macs_per_cycle == choice.parameters["width"] / 4
    choice.make()._MustUse__silence = True


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("adder:", "write parameters as adder:parameter=value"),
        ("adder:width", "write parameters as adder:parameter=value"),
        ("adder:width=", "write parameters as adder:parameter=value"),
        ("adder:width=8,", "write parameters as adder:parameter=value"),
        ("adder:wide=8", "no parameter 'wide'.*did you mean 'width'"),
        ("adder:width=eight", "parameter width of unit adder must be an integer, not 'eight'"),
        ("adder:width=true", "parameter width of unit adder must be an integer, not 'true'"),
        ("adder:signed=1", "parameter signed of unit adder must be true or false, not '1'"),
        ("adder:form=heap", "form of unit adder must be one of ripple, tree, 8, not 'heap'"),
        ("adder:width=8,width=8", "given twice"),
    ],
)
def test_what_is_wrong_with_a_unit_is_said(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_unit(text)


def test_impossible_parameters_are_refused_by_the_constructor() -> None:
    with pytest.raises(InputError, match="width must be at least 1, not 0"):
        parse_unit("adder:width=0").make()


def test_every_unit_is_described_and_can_be_named_by_its_description() -> None:
    described = describe_units()
    assert [unit["name"] for unit in described] == list(unit_templates())
    for unit in described:
        assert unit["description"]
        for parameter in unit["parameters"].values():
            assert parameter["choices"] is None or parameter["default"] in parameter["choices"]
