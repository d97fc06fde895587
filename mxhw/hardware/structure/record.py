"""A design as JSON, and back: what an emitted folder says of its units, in `structure.json`.

    text = design_to_json(design)
    design = design_from_json(text)

Every unit is the name of its class and its fields. A class of one's own is found once it is imported (an extension).
"""

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from mxhw.errors import InputError, nearest
from mxhw.hardware.structure.design import Design, Step
from mxhw.hardware.structure.unit import Unit

__all__ = ["STRUCTURE_FILE", "design_from_json", "design_to_json"]

STRUCTURE_FILE = "structure.json"
_KIND = "kind_of_unit"


def design_to_json(design: Design) -> str:
    """Return a design as text, one line a step."""
    steps = [
        {
            "name": step.name,
            "node": step.node,
            "unit": {_KIND: type(step.unit).__name__, **asdict(step.unit)},
            "inputs": step.inputs,
            "lanes_in": step.lanes_in,
            "lanes_out": step.lanes_out,
        }
        for step in design.steps.values()
    ]
    fifos = [[source, step, depth] for (source, step), depth in design.fifos.items()]
    parts = {"inputs": dict(design.inputs), "outputs": design.outputs, "fifos": fifos}
    head = "".join(f" {json.dumps(name)}: {json.dumps(part)},\n" for name, part in parts.items())
    return f'{{\n{head} "steps": [\n  ' + ",\n  ".join(map(json.dumps, steps)) + "\n ]\n}\n"


def design_from_json(text: str) -> Design:
    """Return the design that :func:`design_to_json` wrote.

    Raises
    ------
    InputError
        If it is something else, or names a unit that there is not.
    """
    try:
        content = json.loads(text)
        steps = {
            each["name"]: Step(
                name=each["name"],
                node=each["node"],
                unit=_unit(each["unit"]),
                inputs=tuple(each["inputs"]),
                lanes_in=tuple(each["lanes_in"]),
                lanes_out=each["lanes_out"],
            )
            for each in content["steps"]
        }
        fifos = {(source, step): depth for source, step, depth in content["fifos"]}
        return Design(dict(content["inputs"]), steps, tuple(content["outputs"]), fifos)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"no record of a design ({type(error).__name__}: {error}); emit the design again") from error


def _unit(fields: dict[str, Any]) -> Unit:
    kinds = {kind.__name__: kind for kind in _derived(Unit)}
    name = fields[_KIND]
    if name not in kinds:
        raise InputError(
            f"there is no unit {name!r}{nearest(name, kinds)}; one of an extension is there once that is loaded"
        )
    return kinds[name](**{key: value for key, value in fields.items() if key != _KIND})


def _derived(kind: type[Unit]) -> Iterator[type[Unit]]:
    for each in kind.__subclasses__():
        yield each
        yield from _derived(each)
