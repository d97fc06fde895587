"""The search space: the family of processing elements, a format per layer, rows of the arrays, share of the budget.

A design is of one family: "bitmod" (integer inputs, bit-serial weights, mixed per layer), "dialect" (DialectFP4 on
both sides), or "emulated". Attention operands take a format per layer. Of the first two only pairs that a hardware unit
computes are in the space, so every such design can be emitted. "emulated" takes any formats, a user's own among them;
its designs have quality and bits, but no hardware, no arrays and no cost of either.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, get_args

from mxhw.arithmetic import supports
from mxhw.errors import InputError
from mxhw.formats import parse_format
from mxhw.ir import Graph, site_key

__all__ = ["EMULATED", "Design", "Family", "SearchSpace", "SpaceConfig", "Suggest"]

Family = Literal["bitmod", "dialect", "emulated"]
FAMILIES: tuple[Family, ...] = get_args(Family)
EMULATED: Family = "emulated"


class Suggest(Protocol):
    """What a space needs of a trial: Optuna's `Trial.suggest_categorical`."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Return one of the choices."""


@dataclass(frozen=True, kw_only=True)
class SpaceConfig:
    """Choices of the search.

    Attributes
    ----------
    families : tuple of str
        Of "bitmod", "dialect" and "emulated".
    bitmod_weights, dialect_weights, emulated_weights : tuple of format names
        Choices for every linear layer; the first one is the family's uniform design.
    bitmod_inputs, dialect_inputs, emulated_inputs : format name
        Inputs of every linear layer.
    bitmod_attention, dialect_attention, emulated_attention : tuple of format names
        Choices for the operands of attention, per layer.
    rows : tuple of int
        Tokens in parallel, for all arrays of a design with hardware.
    shares : tuple of float
        Shares of the platform's budget that a design with hardware may use.
    """

    families: tuple[Family, ...] = ("bitmod", "dialect")
    bitmod_weights: tuple[str, ...] = ("bitmod4", "bitmod3", "int6-g128-s8")
    dialect_weights: tuple[str, ...] = ("dialect4",)
    bitmod_inputs: str = "int8-e8m0"
    dialect_inputs: str = "dialect4-online"
    bitmod_attention: tuple[str, ...] = ("int8-e8m0",)
    dialect_attention: tuple[str, ...] = ("int8-e8m0", "dialect4-online")
    emulated_weights: tuple[str, ...] = ("mxfp4", "mxfp6-e2m3")
    emulated_inputs: str = "mxfp8-e4m3"
    emulated_attention: tuple[str, ...] = ("mxfp8-e4m3",)
    rows: tuple[int, ...] = (4, 8, 16)
    shares: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        choices = [f"{family}_{operand}" for family in FAMILIES for operand in ("weights", "attention")]
        for name in ("families", *choices):
            values = getattr(self, name)
            if not values or len(set(values)) != len(values):
                raise InputError(f"{name} must be a list of different names, not {values!r}")
        for family in self.families:
            if family not in FAMILIES:
                raise InputError(f"family must be one of {', '.join(FAMILIES)}, not {family!r}")
            self._check_pairs(family)
        if not self.rows or any(row < 1 for row in self.rows):
            raise InputError(f"rows must be positive integers, not {self.rows!r}")
        if not self.shares or any(not 0 < share <= 1 for share in self.shares):
            raise InputError(f"shares must lie in (0, 1], not {self.shares!r}")

    def _check_pairs(self, family: str) -> None:
        inputs = self.inputs(family)
        pairs = [(inputs, weight) for weight in self.weights(family)] + [(a, a) for a in self.attention(family)]
        for lhs, rhs in pairs:
            operands = parse_format(lhs), parse_format(rhs)
            if family != EMULATED and supports(*operands) is None:
                raise InputError(
                    f"family {family!r}: no hardware unit multiplies {lhs!r} by {rhs!r}; remove it from the search, or "
                    f"search it in family {EMULATED!r} with objective 'bits'"
                )

    def inputs(self, family: str) -> str:
        """Return the format of linear layers' inputs."""
        return str(getattr(self, f"{family}_inputs"))

    def weights(self, family: str) -> tuple[str, ...]:
        """Return the choices of weight formats."""
        return tuple(getattr(self, f"{family}_weights"))

    def attention(self, family: str) -> tuple[str, ...]:
        """Return the choices of attention formats."""
        return tuple(getattr(self, f"{family}_attention"))

    def formats(self) -> list[str]:
        """Return every format that a design may have."""
        each = [(*self.weights(f), self.inputs(f), *self.attention(f)) for f in self.families]
        return sorted({name for names in each for name in names})

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a JSON object (tuples as lists)."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


@dataclass(frozen=True)
class Design:
    """One point of the space, before its arrays are sized; `rows` and `share` are None in family "emulated"."""

    family: str
    rows: int | None
    share: float | None
    formats: Mapping[str, str]


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

    def suggest(self, trial: Suggest) -> Design:
        """Let a trial choose; parameters with a single choice are not asked for."""

        def ask(name: str, choices: Sequence[Any]) -> Any:
            return choices[0] if len(choices) == 1 else trial.suggest_categorical(name, list(choices))

        family = ask("family", self.config.families)
        weights = {n: ask(self.weight_key(family, n), self.config.weights(family)) for n in self.linears}
        attention = {
            layer: ask(self.attention_key(family, layer), self.config.attention(family)) for layer in self.attention
        }
        formats = self.formats(family, weights, attention)
        if family == EMULATED:
            return Design(family, None, None, formats)
        rows, share = ask("rows", self.config.rows), ask("share", self.config.shares)
        return Design(family, rows, share, formats)

    def formats(self, family: str, weights: Mapping[str, str], attention: Mapping[str, str]) -> dict[str, str]:
        """Return formats by site of formats by linear node and by layer's attention."""
        formats: dict[str, str] = {}
        for name in self.linears:
            formats[site_key(name, "weight")] = weights[name]
            formats[site_key(name, "input")] = self.config.inputs(family)
        for layer, names in self.attention.items():
            for name in names:
                formats[site_key(name, "lhs")] = formats[site_key(name, "rhs")] = attention[layer]
        return formats

    def parameters(
        self,
        family: str,
        rows: int,
        weights: Mapping[str, str] | str | None = None,
        attention: Mapping[str, str] | str | None = None,
        share: float | None = None,
    ) -> dict[str, Any]:
        """Return the parameters of a design, to enqueue it: one format for all layers, or one per layer.

        Defaults are the first choices.
        """
        choices, operands = self.config.weights(family), self.config.attention(family)
        by_node = weights if isinstance(weights, Mapping) else dict.fromkeys(self.linears, weights or choices[0])
        by_layer = (
            attention if isinstance(attention, Mapping) else dict.fromkeys(self.attention, attention or operands[0])
        )
        arrays: list[tuple[str, Any, Sequence[Any]]] = [
            ("rows", rows, self.config.rows),
            ("share", share or max(self.config.shares), self.config.shares),
        ]
        asked: list[tuple[str, Any, Sequence[Any]]] = [
            ("family", family, self.config.families),
            *(arrays if family != EMULATED else []),
            *((self.weight_key(family, node), by_node[node], choices) for node in self.linears),
            *((self.attention_key(family, layer), by_layer[layer], operands) for layer in self.attention),
        ]
        return {name: value for name, value, allowed in asked if len(allowed) > 1}

    @staticmethod
    def weight_key(family: str, node: str) -> str:
        """Return the name of the parameter that chooses a layer's weight format."""
        return f"{family}/{node}:weight"

    @staticmethod
    def attention_key(family: str, layer: str) -> str:
        """Return the name of the parameter that chooses a layer's attention format."""
        return f"{family}/{layer}:attention"
