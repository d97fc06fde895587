"""Reading and writing the fields of typed records as JSON: unknown, missing and wrongly typed ones are refused."""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from typing import Any

from mxhw.errors import InputError, nearest
from mxhw.ir.symbolic import Shape, size_from_json, size_to_json

__all__ = ["checked_object", "list_field", "names_field", "plain", "shape_from_json", "shape_to_json"]


def plain(record: Any) -> dict[str, Any]:
    """Return the fields of a dataclass instance as they are."""
    return {f.name: getattr(record, f.name) for f in fields(record)}


def checked_object(kind: type, data: object) -> dict[str, Any]:
    """Return `data` if it is an object with the fields of `kind`, each of the type that the record declares.

    Tuples are read apart, by their own functions.
    """
    if not isinstance(data, dict):
        raise InputError(f"record of {kind.__name__} must be an object, not {data!r:.60}")
    known = {f.name: str(f.type) for f in fields(kind)}
    for f in fields(kind):
        if f.name not in data and f.default is MISSING and f.default_factory is MISSING:
            raise InputError(f"record of {kind.__name__} is incomplete: it lacks {f.name!r}")
    for key, value in data.items():
        if key not in known:
            raise InputError(f"record of {kind.__name__} has an unknown field {key!r}{nearest(key, known)}")
        declared = known[key].removesuffix(" | None")
        if value is None and declared != known[key]:
            continue
        if declared in _FITS and not _FITS[declared](value):
            raise InputError(f"field {key!r} of {kind.__name__} must be of type {known[key]}, not {value!r:.60}")
    return data


_FITS: dict[str, Callable[[object], bool]] = {
    "str": lambda value: isinstance(value, str),
    "int": lambda value: type(value) is int,
    "float": lambda value: type(value) in (int, float),
    "bool": lambda value: isinstance(value, bool),
    "Mapping[str, float]": lambda value: isinstance(value, dict),
    "Mapping[str, int]": lambda value: isinstance(value, dict),
    "Mapping[str, Any]": lambda value: isinstance(value, dict),
}


def list_field(values: Mapping[str, Any], key: str) -> list[Any]:
    """Return `values[key]`, which must be a list if it is there."""
    value = values.get(key, [])
    if not isinstance(value, list):
        raise InputError(f"field {key!r} must be a list, not {value!r:.60}")
    return value


def names_field(values: Mapping[str, Any], key: str) -> list[str]:
    """Return `values[key]`, which must be a list of strings if it is there."""
    value = list_field(values, key)
    if not all(isinstance(item, str) for item in value):
        raise InputError(f"field {key!r} must be a list of names, not {value!r:.60}")
    return value


def shape_to_json(shape: Shape) -> list[int | str]:
    """Return the sizes as integers and texts."""
    return [size_to_json(size) for size in shape]


def shape_from_json(data: object) -> Shape:
    """Read what :func:`shape_to_json` gave; anything else is an InputError."""
    if not isinstance(data, list):
        raise InputError(f"shape must be a list of sizes, not {data!r:.60}")
    return tuple(size_from_json(size) for size in data)
