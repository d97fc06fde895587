"""Units as the command line names them: ``NAME`` or ``NAME:parameter=value,parameter=value``."""

from dataclasses import dataclass
from typing import Any

from amaranth.lib import wiring

from mxhw.errors import InputError
from mxhw.rtl_templates.catalogue import unit_named, unit_templates
from mxhw.rtl_templates.template import Parameter, UnitTemplate

__all__ = ["UnitChoice", "describe_units", "parse_unit"]

_WORDS: dict[str, Parameter] = {"true": True, "false": False, "none": None}
_KINDS = {bool: "true or false", int: "an integer", str: "a word"}


@dataclass(frozen=True)
class UnitChoice:
    """A unit of the catalogue with every parameter chosen.

    Attributes
    ----------
    template : the unit.
    label : as it was named.
    parameters : all of them, the defaults included.
    """

    template: UnitTemplate
    label: str
    parameters: dict[str, Parameter]

    @property
    def macs_per_cycle(self) -> float | None:
        """Products per cycle, if the unit multiplies."""
        count = self.template.macs_per_cycle
        return None if count is None else float(count(**self.parameters))

    def make(self) -> wiring.Component:
        """Return the component; InputError for parameters that are impossible together."""
        try:
            component = self.template.make(**self.parameters)
        except TypeError as error:  # a word where a constructor counts on a number
            raise InputError(f"unit {self.label} cannot be made: {error}") from None
        component._MustUse__silence = True  # it may be made only to see whether it can be
        return component


def parse_unit(text: str) -> UnitChoice:
    """Return the unit that ``NAME`` or ``NAME:parameter=value,…`` names.

    Raises
    ------
    InputError
        If there is no such unit or parameter, or the value is not of the parameter's kind or among its choices.
    """
    name, colon, rest = text.partition(":")
    template = unit_named(name)
    given: dict[str, Parameter] = {}
    for item in rest.split(",") if colon else []:
        parameter, equals, value = (part.strip() for part in item.partition("="))
        if not (parameter and equals and value):
            raise InputError(f"unit {text!r}: write parameters as {name}:parameter=value,parameter=value, not {item!r}")
        if parameter in given:
            raise InputError(f"unit {text!r}: parameter {parameter!r} is given twice")
        given[parameter] = _value(template, parameter, value)
    return UnitChoice(template, text, template.complete(given))


def _value(template: UnitTemplate, parameter: str, text: str) -> Parameter:
    """Return a value in the kind of the parameter's default and choices."""
    for choice in template.choices.get(parameter, ()):
        if text.lower() == str(choice).lower():
            return choice
    default = template.parameters.get(parameter)
    value = _literal(text)
    if default is None or parameter in template.choices:
        return value  # the choices themselves, or the constructor, say what is wrong with it
    if isinstance(default, str):
        return text
    if type(value) is not type(default):
        kind = _KINDS[type(default)]
        raise InputError(f"parameter {parameter} of unit {template.name} must be {kind}, not {text!r}")
    return value


def _literal(text: str) -> Parameter:
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    try:
        return int(text, 0)
    except ValueError:
        return text


def describe_units() -> list[dict[str, Any]]:
    """Return name, kind, description and parameters (default, choices) of every unit."""
    return [
        {
            "name": unit.name,
            "kind": unit.kind,
            "description": unit.description,
            "parameters": {
                name: {"default": default, "choices": list(unit.choices[name]) if name in unit.choices else None}
                for name, default in unit.parameters.items()
            },
        }
        for unit in unit_templates().values()
    ]
