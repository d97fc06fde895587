"""An assignment: which number format every site gets and how parallel every unit is. It is what a search returns.

It is a small JSON file that a person can read, edit and replay:

    {"mxhw_assignment": 1, "model": "demo",
     "formats": {"lm_head:weight": "bitmod4", "lm_head:input": "int8-e8m0"},
     "arrays": {"lm_head": [4, 8]}, "lanes": {"lm_head.requantize": 2}, "notes": {}, "axes": {}}

A weight may have formats by output channel, "bitmod4*64+bitmod3*64" (:mod:`mxhw.formats.channels`).

`arrays` gives the rows and columns of processing elements of a node's unit, `lanes` the elements a cycle of any other
step of its hardware (`mxhw cost MODEL` lists steps), `axes` the axis of KV cache sites: -1 to
round token by token (the default), -2 in blocks along the sequence (:mod:`mxhw.ir.cache`). Sites and nodes that are
absent keep the default of whoever applies the assignment.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mxhw.errors import InputError, nearest
from mxhw.files import write_text
from mxhw.formats import ChannelGroups, channel_dimension, parse_format
from mxhw.ir.cache import CACHE, tokens_per_block
from mxhw.ir.graph import Graph
from mxhw.ir.metadata import Site, SiteKey
from mxhw.ir.symbolic import size_at

__all__ = ["Assignment"]

VERSION = 1
DEFAULT_ARRAY = (4, 8)
_MARK = "mxhw_assignment"
_FIELDS = (_MARK, "model", "formats", "arrays", "lanes", "notes", "axes")


@dataclass(frozen=True)
class Assignment:
    """Formats by site and arrays by node.

    Attributes
    ----------
    model : str
        Name of the model that it is for.
    formats : mapping of site key to format name
    arrays : mapping of node name to (rows, columns)
        See :meth:`array` for nodes that are absent.
    lanes : mapping of step name to int
        Elements a cycle of what is no array: norms, requantizers, attention.
    notes : mapping
        Free: scores, seeds, the command that made it.
    axes : mapping of site key to int
        Of "cache" sites only; absent ones keep the axis of the graph's site.
    """

    model: str
    formats: Mapping[SiteKey, str] = field(default_factory=dict)
    arrays: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)
    axes: Mapping[SiteKey, int] = field(default_factory=dict)
    lanes: Mapping[str, int] = field(default_factory=dict)

    def array(self, node: str) -> tuple[int, int]:
        """Return (rows, columns) of a node's array; :data:`DEFAULT_ARRAY` where the assignment has none."""
        return self.arrays.get(node, DEFAULT_ARRAY)

    def check(self, graph: Graph) -> None:
        """Raise an InputError, with the nearest known name, for a site, format, axis or node that does not exist."""
        sites, gemms = graph.sites, [info.name for info in graph.gemms]
        for key, name in self.formats.items():
            if key not in sites:
                raise graph.unknown_site(key)
            try:
                fmt = parse_format(name)
                if isinstance(fmt, ChannelGroups):
                    _check_channels(fmt, sites[key], graph.nodes[sites[key].node].op)
                if sites[key].operand == CACHE:
                    tokens_per_block(fmt, self.axes.get(key, sites[key].axis))
            except InputError as error:
                raise InputError(f"site {key!r}: {error}") from None
        for key in self.axes:
            if key not in sites:
                raise graph.unknown_site(key)
            if sites[key].operand != CACHE:
                raise InputError(f"axes name {key!r}, but only the axis of a {CACHE!r} site can be chosen")
        for node in self.arrays:
            if node not in gemms:
                raise InputError(
                    f"arrays name {node!r}, no matrix product of {graph.signature.model}{nearest(node, gemms)}"
                )
        names = [*graph.nodes]
        for step in self.lanes:
            if not any(step == name or step.startswith(f"{name}.") for name in names):
                raise InputError(f"lanes name {step!r}, no step of {graph.signature.model}{nearest(step, names)}")

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object that :meth:`from_json` reads."""
        return {
            _MARK: VERSION,
            "model": self.model,
            "formats": dict(self.formats),
            "arrays": {node: list(sizes) for node, sizes in self.arrays.items()},
            "lanes": dict(self.lanes),
            "notes": dict(self.notes),
            "axes": dict(self.axes),
        }

    @classmethod
    def from_json(cls, data: object, where: str = "assignment") -> "Assignment":
        """Read a JSON object; `where` names it in errors.

        Raises
        ------
        InputError
            If a field is missing, unknown or of the wrong type.
        """
        if not isinstance(data, dict) or data.get(_MARK) != VERSION:
            raise InputError(f'{where} is no assignment of version {VERSION}: it must hold "{_MARK}": {VERSION}')
        for key in data:
            if key not in _FIELDS:
                raise InputError(f"{where} has an unknown field {key!r}{nearest(key, _FIELDS)}")
        model, formats = data.get("model"), _mapping(data, "formats", where)
        if not isinstance(model, str):
            raise InputError(f"{where}: model must be a name, not {model!r:.60}")
        for site, name in formats.items():
            if not isinstance(name, str):
                raise InputError(f"{where}: format of {site!r} must be a name, not {name!r:.60}")
        axes = _mapping(data, "axes", where)
        for site, axis in axes.items():
            if type(axis) is not int:
                raise InputError(f"{where}: axis of {site!r} must be -1 or -2, not {axis!r:.60}")
        arrays = {node: _array(node, sizes, where) for node, sizes in _mapping(data, "arrays", where).items()}
        lanes = _mapping(data, "lanes", where)
        for step, count in lanes.items():
            if type(count) is not int or count < 1:
                raise InputError(f"{where}: lanes of {step!r} must be an integer of at least 1, not {count!r:.60}")
        notes = _mapping(data, "notes", where)
        return cls(model=model, formats=formats, arrays=arrays, notes=notes, axes=axes, lanes=lanes)

    def save(self, path: str | Path) -> None:
        """Write the assignment to a JSON file, whole or not at all."""
        write_text(Path(path), json.dumps(self.to_json(), indent=1) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> "Assignment":
        """Read a JSON file; InputError if it is missing or not an assignment."""
        path = Path(path)
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"assignment {path} cannot be read: {error.strerror}") from None
        except (ValueError, RecursionError) as error:
            raise InputError(f"assignment {path} is not JSON: {error}") from None
        return cls.from_json(data, f"assignment {path}")


def _check_channels(fmt: ChannelGroups, site: Site, op: str) -> None:
    """Raise an InputError unless a site is a weight with as many output channels as the runs of its format."""
    if site.operand != "weight":
        raise InputError(f"{fmt}: only a weight has output channels; give the {site.operand} one format")
    sizes = [size_at(size, 1, 1) for size in site.shape]
    if op == "conv" and channel_dimension(len(sizes), site.axis) != 0:
        raise InputError(
            f"{fmt}: a convolution's weight {tuple(sizes)} in blocks along dimension {site.axis} has no runs of "
            "output channels; give it one format"
        )
    fmt.pieces(sizes, site.axis)


def _mapping(data: Mapping[str, Any], key: str, where: str) -> dict[str, Any]:
    value = data.get(key, {})
    if not isinstance(value, dict):
        raise InputError(f"{where}: {key} must be an object, not {value!r:.60}")
    return value


def _array(node: str, sizes: object, where: str) -> tuple[int, int]:
    if isinstance(sizes, list) and len(sizes) == 2 and all(type(n) is int and n > 0 for n in sizes):
        return sizes[0], sizes[1]
    raise InputError(f"{where}: array of {node!r} must be [rows, columns], two positive integers, not {sizes!r:.60}")
