"""The space of one graph: units that take a format together, and the hardware that a design may have.

A trial chooses a family, then a format for every unit of that family, then, with hardware, rows, a share of the budget
and, where wanted, the width of every array. What hardware ties is one unit: a design has one type of processing
element, and all operands of one product of attention are those of one unit of hardware.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Protocol

from mxhw.errors import InputError
from mxhw.ir import Graph, NodeInfo, site_key
from mxhw.ir.cache import CACHE
from mxhw.passes.analysis.sensitivity.units import Unit
from mxhw.passes.search.space_config import EMULATED, Family, SpaceConfig

__all__ = ["EMULATED", "Design", "Family", "Parameter", "SearchSpace", "SpaceConfig", "Suggest"]


class Suggest(Protocol):
    """What a space needs of a trial: Optuna's `Trial.suggest_categorical`."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Return one of the choices."""


@dataclass(frozen=True)
class Parameter:
    """A choice of a trial; those with one choice are not asked for."""

    name: str
    choices: tuple[Any, ...]


@dataclass(frozen=True)
class Design:
    """One point of the space, before its arrays are sized.

    Attributes
    ----------
    family : str
    rows, share : None in family "emulated".
    formats : mapping of site key to format name
    choice : mapping of unit name to format name
    widths : mapping of node to multiple of its array's balanced columns; absent ones are 1.
    folded : whether equal layers share one physical block.
    """

    family: str
    rows: int | None
    share: float | None
    formats: Mapping[str, str]
    choice: Mapping[str, str] = field(default_factory=dict)
    widths: Mapping[str, float] = field(default_factory=dict)
    folded: bool = False


@dataclass
class SearchSpace:
    """The space of one graph.

    Attributes
    ----------
    linears : list of str
        Nodes with a weight: linear layers, convolutions, and the products of experts, of which all experts take one
        format.
    attention : dict of str to list of str
        Layer to its products of two activations: those of attention, however the model writes it.
    """

    graph: Graph
    config: SpaceConfig
    linears: list[str] = field(init=False)
    attention: dict[str, list[str]] = field(init=False)

    def __post_init__(self) -> None:
        self.linears = [info.name for info in self.graph.weighted]
        self.attention = {}
        for info in self.graph.nodes.values():
            if any(site.operand == "lhs" for site in info.sites):
                self.attention.setdefault(info.layer or info.fqn, []).append(info.name)
        if not self.linears:
            raise InputError(f"{self.graph!r} has no weight to search formats for")
        self._units = cache(self._units_of)

    def units(self, family: str) -> tuple[Unit, ...]:
        """Return what takes a format together in a family, weights first; every site is in one unit."""
        return self._units(family)

    def parameters_of(self, family: str) -> list[Parameter]:
        """Return the choices of a design of a family, those with one choice too, in the order that they are made."""
        arrays = []
        if family != EMULATED:
            widths = [Parameter(f"{family}/{name}:width", self.config.widths) for name in self.linears]
            chosen = [("rows", self.config.rows), ("share", self.config.shares), ("folded", self.config.folding)]
            arrays = [*(Parameter(name, choices) for name, choices in chosen), *widths]
        units = [Parameter(f"{family}/{unit.name}", unit.candidates) for unit in self.units(family)]
        return [Parameter("family", self.config.families), *units, *arrays]

    def suggest(self, trial: Suggest) -> Design:
        """Let a trial choose; parameters with a single choice are not asked for."""

        def ask(parameter: Parameter) -> Any:
            choices = parameter.choices
            return choices[0] if len(choices) == 1 else trial.suggest_categorical(parameter.name, list(choices))

        family = ask(Parameter("family", self.config.families))
        return self.design({"family": family} | {each.name: ask(each) for each in self.parameters_of(family)[1:]})

    def design(self, values: Mapping[str, Any]) -> Design:
        """Return the design of the values of all its parameters; those with one choice may be absent."""
        family = values.get("family", self.config.families[0])
        every = {each.name: values.get(each.name, each.choices[0]) for each in self.parameters_of(family)}
        choice = {unit.name: every[f"{family}/{unit.name}"] for unit in self.units(family)}
        formats = self.formats(family, choice)
        if family == EMULATED:
            return Design(family, None, None, formats, choice)
        widths = {name: float(every[f"{family}/{name}:width"]) for name in self.linears}
        changed = {name: width for name, width in widths.items() if width != 1}
        return Design(family, every["rows"], every["share"], formats, choice, changed, every["folded"])

    def formats(self, family: str, choice: Mapping[str, str]) -> dict[str, str]:
        """Return formats by site of formats by unit."""
        formats: dict[str, str] = {}
        runs: dict[str, list[tuple[int, int, str]]] = {}
        for unit in self.units(family):
            for site in unit.sites:
                if unit.channels is None:
                    formats[site] = choice[unit.name]
                else:
                    runs.setdefault(site, []).append((*unit.channels, choice[unit.name]))
        return formats | {site: _channel_groups(found) for site, found in runs.items()}

    def all_parameters(
        self,
        family: str,
        rows: int | None,
        share: float | None,
        choice: Mapping[str, str],
        folded: bool | None = None,
    ) -> dict[str, Any]:
        """Return the values of all parameters of a design of these formats by unit, by default the first choices."""
        values: dict[str, Any] = {"family": family}
        if family != EMULATED:
            values |= {"rows": rows, "share": max(self.config.shares) if share is None else share}
            values["folded"] = self.config.folding[0] if folded is None else folded
            values |= {f"{family}/{name}:width": 1.0 for name in self.linears}
        for unit in self.units(family):
            values[f"{family}/{unit.name}"] = choice.get(unit.name, unit.candidates[0])
        return values

    def parameters(
        self,
        family: str,
        rows: int | None,
        choice: Mapping[str, str] | None = None,
        share: float | None = None,
        folded: bool | None = None,
    ) -> dict[str, Any]:
        """Return the parameters that a trial asks for of a design, to enqueue it; see :meth:`all_parameters`."""
        values = self.all_parameters(family, rows, share, choice or {}, folded)
        return {each.name: values[each.name] for each in self.parameters_of(family) if len(each.choices) > 1}

    def uniform(self, family: str, operand: str, name: str) -> dict[str, str]:
        """Return formats by unit of a design in which all units of an operand that may have a format have it.

        ``operand``: the end of units' names: "weight", "input", "attention", "scores", "values" or "cache".
        """
        return {u.name: name for u in self.units(family) if u.name.endswith(f":{operand}") and name in u.candidates}

    def _units_of(self, family: str) -> tuple[Unit, ...]:
        return tuple(
            Unit(name, tuple(sites), self.config.choices(family, operand), channels)
            for operand, name, sites, channels in self._groups(family)
        )

    def _groups(self, family: str) -> Iterator[tuple[str, str, list[str], tuple[int, int] | None]]:
        """Yield (operand, name, sites, channels) of every unit."""
        if self.config.granularity == "channels":
            for name in self.linears:
                for start, stop in self._channels(name):
                    yield "weights", f"{name}[{start}:{stop}]:weight", [site_key(name, "weight")], (start, stop)
        else:
            for stem, names in self._grouped(self.linears).items():
                yield "weights", f"{stem}:weight", [site_key(name, "weight") for name in names], None
        for stem, names in self._grouped(self.linears).items():
            yield "inputs", f"{stem}:input", [site_key(name, "input") for name in names], None
        together = self.config.granularity in ("kind", "model")
        blocks = {"all": [n for names in self.attention.values() for n in names]} if together else self.attention
        for stem, names in blocks.items() if self.attention else ():
            yield from self._attention_groups(family, stem, names)

    def _attention_groups(
        self, family: str, stem: str, names: Sequence[str]
    ) -> Iterator[tuple[str, str, list[str], tuple[int, int] | None]]:
        stored = bool(self.config.choices(family, "cache"))
        own = ("lhs",) if stored and family != EMULATED else ("lhs", "rhs")
        if self.config.splits_attention(family):
            for operand, op in (("scores", "attn_qk"), ("values", "attn_pv")):
                products = [name for name in names if self.graph.nodes[name].op == op]
                if products:
                    yield operand, f"{stem}:{operand}", [site_key(n, each) for n in products for each in own], None
        else:
            yield "attention", f"{stem}:attention", [site_key(n, each) for n in names for each in own], None
        if stored:
            kept = CACHE if family == EMULATED else "rhs"
            sites = [site_key(n, kept) for n in names if _has(self.graph.nodes[n], kept)]
            if sites:
                yield "cache", f"{stem}:cache", sites, None

    def _grouped(self, names: Sequence[str]) -> dict[str, list[str]]:
        groups: dict[str, list[str]] = {}
        for name in names:
            groups.setdefault(self._stem(name), []).append(name)
        return groups

    def _stem(self, name: str) -> str:
        """Return what a node's units are called after."""
        layer = self.graph.nodes[name].layer
        if self.config.granularity == "kind":
            return name.removeprefix(f"{layer}.") if layer else name
        if self.config.granularity == "block":
            return layer or name
        return "all" if self.config.granularity == "model" else name

    def _channels(self, name: str) -> list[tuple[int, int]]:
        """Return the groups of output channels of a node; one of all where its weight is no matrix."""
        shape = self.graph.weight(name).shape
        outputs, step = int(shape[0]), self.config.channel_group
        if len(shape) != 2:
            raise InputError(
                f"node {name!r}: a weight of shape {list(shape)} has no output channels to group; "
                "choose another granularity"
            )
        return [(start, min(start + step, outputs)) for start in range(0, outputs, step)]

    @staticmethod
    def weight_key(family: str, node: str) -> str:
        """Return the name of the parameter that chooses a layer's weight format."""
        return f"{family}/{node}:weight"

    @staticmethod
    def attention_key(family: str, layer: str) -> str:
        """Return the name of the parameter that chooses a layer's attention format."""
        return f"{family}/{layer}:attention"


def _has(info: NodeInfo, operand: str) -> bool:
    return any(site.operand == operand for site in info.sites)


def _channel_groups(runs: Sequence[tuple[int, int, str]]) -> str:
    """Return the format of a weight whose groups of output channels have these; see :mod:`mxhw.formats.channels`."""
    merged: list[list[Any]] = []
    for start, stop, name in sorted(runs):
        if merged and merged[-1][0] == name:
            merged[-1][1] += stop - start
        else:
            merged.append([name, stop - start])
    return merged[0][0] if len(merged) == 1 else "+".join(f"{name}*{count}" for name, count in merged)
