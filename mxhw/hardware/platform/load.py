"""Platform files: TOML, checked key by key.

A fault is one line that says the file, the key, what was given and what is allowed.
"""

import tomllib
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from mxhw.errors import InputError, nearest
from mxhw.hardware.components import components
from mxhw.hardware.platform.platform import AsicPlatform, FpgaPlatform, Platform
from mxhw.hardware.platform.quantity import AccessEnergy, Quantity, Shapes
from mxhw.hardware.platform.records import LogicEnergy, ReferenceArea

__all__ = ["known_platforms", "load_platform", "platform_numbers"]

_FOLDER = Path(__file__).parents[1] / "data" / "platforms"
_KINDS: dict[str, type[Platform]] = {"asic": AsicPlatform, "fpga": FpgaPlatform}


def known_platforms() -> list[str]:
    """Return the names of the shipped platforms."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def load_platform(name: str | Path) -> Platform:
    """Return a shipped platform by name, or one from a TOML file by path; `examples/platform.toml` shows the keys.

    Raises
    ------
    InputError
        If there is no such platform or file, or the file is not a complete platform.
    """
    path = _FOLDER / f"{name}.toml"
    if not (str(name) in known_platforms() and path.is_file()):
        path = Path(name)
        if path.suffix != ".toml" or not path.is_file():
            raise InputError(
                f"no platform {str(name)!r}: known are {', '.join(known_platforms())}, or the path of a .toml file"
                + nearest(str(name), known_platforms())
            )
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"platform file {path}: not valid TOML: {error}") from None
    return _platform(data, path)


def _platform(data: dict[str, Any], path: Path) -> Platform:
    kind, library = data.get("kind"), data.get("library")
    if kind not in _KINDS:
        raise InputError(f"platform file {path}: 'kind' must be one of {', '.join(_KINDS)}, not {kind!r}")
    try:
        if isinstance(library, str):
            components(library)
        return TypeAdapter(_KINDS[kind]).validate_python(data)
    except ValidationError as error:
        raise InputError(f"platform file {path}: {_explain(error.errors(), _KINDS[kind])}") from None
    except InputError as error:
        raise InputError(f"platform file {path}: 'library' = {library!r}: {error}") from None


def _explain(faults: list[ErrorDetails], record: type) -> str:
    """Say the first fault in one line; what is misspelt goes before what is therefore missing."""
    fault = min(faults, key=lambda each: each["type"] not in _UNKNOWN)
    place = [part for part in fault["loc"] if part not in _NO_KEYS]
    where = ".".join(str(part) for part in place)
    if fault["type"] in _UNKNOWN:
        known = _keys(record, place[:-1])
        return f"unknown key {where!r}{nearest(str(place[-1]), known)} (known here: {', '.join(known)})"
    if fault["type"] in ("missing", "missing_argument"):
        known = _keys(record, place[:-1])
        return f"{where!r} is missing (here belong: {', '.join(known)})"
    said = str(fault["msg"]).removeprefix("Value error, ")
    if fault["type"] == "value_error":
        return f"{where!r}: {said}" if where else said
    if fault["type"] == "reference":
        return said
    return f"{where!r} = {fault['input']!r}: {_PLAIN.get(str(fault['type']), said[0].lower() + said[1:])}"


_UNKNOWN = ("unexpected_keyword_argument", "extra_forbidden")
_NO_KEYS = ("function-after", "[key]")
_PLAIN = {
    "float_type": "must be a number",
    "string_type": "must be text",
    "bool_type": "must be true or false",
    "string_too_short": "must not be empty",
    "tuple_type": "must be a list of lists of numbers",
    "dataclass_type": "must be a table of keys",
    "dict_type": "must be a table of keys",
    "finite_number": "must be a finite number",
}


def _keys(record: Any, place: list[Any]) -> list[str]:
    """Return the keys of the record that a place in a platform leads to."""
    for part in place:
        record = _inside(get_type_hints(record, include_extras=True)[part]) if is_dataclass(record) else record
        if get_origin(record) is dict:
            record = _inside(get_args(record)[1])
            if not is_dataclass(record):
                return []
            # The next part is a name of the mapping's own.
            rest = place[place.index(part) + 2 :]
            return _keys(record, rest)
    return [each.name for each in fields(record)] if is_dataclass(record) else []


def _inside(hint: Any) -> Any:
    """Return the type that is annotated, or that is there if it is not None."""
    if get_origin(hint) is Annotated:
        return _inside(get_args(hint)[0])
    if get_origin(hint) is UnionType or isinstance(hint, UnionType):
        return _inside(next(each for each in get_args(hint) if each is not type(None)))
    return hint


def platform_numbers(platform: Platform) -> dict[str, Quantity | Shapes | AccessEnergy | LogicEnergy | ReferenceArea]:
    """Return every number of a platform that has a source, by its place in the file: "memory.sram.bit" and so on."""
    return dict(_numbers(platform, ""))


def _numbers(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    if hasattr(value, "source"):
        yield place, value
        return
    inner: dict[str, Any] = {}
    if isinstance(value, dict):
        inner = value
    elif is_dataclass(value):
        inner = {each.name: getattr(value, each.name) for each in fields(value)}
    for name, each in inner.items():
        yield from _numbers(each, f"{place}.{name}".lstrip("."))
