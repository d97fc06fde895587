"""What a search may choose from: formats by family and operand, granularity, array shapes, shares of the budget."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal, get_args

from mxhw.arithmetic import supports
from mxhw.errors import InputError, nearest
from mxhw.formats import parse_format

__all__ = ["EMULATED", "FAMILIES", "GRANULARITIES", "OPERANDS", "Family", "Granularity", "SpaceConfig"]

Family = Literal["bitmod", "dialect", "emulated"]
Granularity = Literal["layer", "kind", "block", "model", "channels"]
FAMILIES: tuple[Family, ...] = get_args(Family)
GRANULARITIES: tuple[Granularity, ...] = get_args(Granularity)
EMULATED: Family = "emulated"
OPERANDS = ("weights", "inputs", "attention", "scores", "values", "cache")
_OPTIONAL = ("scores", "values", "cache")


@dataclass(frozen=True, kw_only=True)
class SpaceConfig:
    """Choices of the search.

    A family is one type of processing element: a design has one of them, and so all of its formats are of one family.

    Attributes
    ----------
    families : tuple of str
        Of "bitmod", "dialect" and "emulated" (no hardware: formats are searched by quality and bits).
    granularity : "layer", "kind", "block", "model" or "channels"
        What takes a format together: every node alone; all nodes of one kind, such as all `q_proj`; all nodes of one
        decoder block; all nodes; or `channel_group` output channels of a node (weights; inputs are then by node).
        Operands of attention: by decoder block, but for "kind" and "model", where all blocks take one.
    channel_group : int
        Output channels that take a format together, with granularity "channels".
    FAMILY_weights : tuple of format names
        Choices for every linear layer; the first one is the family's uniform design.
    FAMILY_inputs : tuple of format names
        Choices for the inputs of every linear layer; a single name is a tuple of one.
    FAMILY_attention : tuple of format names
        Choices for the operands of attention.
    FAMILY_scores, FAMILY_values : tuple of format names
        Choices for the operands of QKᵀ and of PV alone, where they are to differ; empty: those of attention.
    FAMILY_cache : tuple of format names
        Choices for keys and values as they are stored; empty: what attention takes.
    rows : tuple of int
        Tokens in parallel, for all arrays of a design with hardware.
    shares : tuple of float
        Shares of the platform's budget that a design with hardware may use.
    widths : tuple of float
        Columns of every array, as multiples of those of the balanced design, each node's chosen alone; (1,) leaves all
        of them balanced.
    folding : tuple of bool
        Whether equal layers share one physical block (True), or each has its own. Folded designs have no `widths`.
    """

    families: tuple[Family, ...] = ("bitmod", "dialect")
    granularity: Granularity = "layer"
    channel_group: int = 128
    bitmod_weights: tuple[str, ...] = ("bitmod4", "bitmod3", "int6-g128-s8")
    dialect_weights: tuple[str, ...] = ("dialect4",)
    bitmod_inputs: tuple[str, ...] | str = ("int8-e8m0",)
    dialect_inputs: tuple[str, ...] | str = ("dialect4-online",)
    bitmod_attention: tuple[str, ...] = ("int8-e8m0",)
    dialect_attention: tuple[str, ...] = ("int8-e8m0", "dialect4-online")
    emulated_weights: tuple[str, ...] = ("mxfp4", "mxfp6-e2m3")
    emulated_inputs: tuple[str, ...] | str = ("mxfp8-e4m3",)
    emulated_attention: tuple[str, ...] = ("mxfp8-e4m3",)
    bitmod_scores: tuple[str, ...] = ()
    bitmod_values: tuple[str, ...] = ()
    bitmod_cache: tuple[str, ...] = ()
    dialect_scores: tuple[str, ...] = ()
    dialect_values: tuple[str, ...] = ()
    dialect_cache: tuple[str, ...] = ()
    emulated_scores: tuple[str, ...] = ()
    emulated_values: tuple[str, ...] = ()
    emulated_cache: tuple[str, ...] = ()
    rows: tuple[int, ...] = (4, 8, 16)
    shares: tuple[float, ...] = (1.0,)
    widths: tuple[float, ...] = (1.0,)
    folding: tuple[bool, ...] = (False,)

    def __post_init__(self) -> None:
        for family in FAMILIES:
            given = getattr(self, f"{family}_inputs")
            object.__setattr__(self, f"{family}_inputs", (given,) if isinstance(given, str) else tuple(given))
        for name in ("families", *(f"{family}_{operand}" for family in FAMILIES for operand in OPERANDS)):
            values = getattr(self, name)
            may_be_empty = name.endswith(_OPTIONAL)
            if not (values or may_be_empty) or len(set(values)) != len(values):
                raise InputError(f"{name} must be a list of different names, not {values!r}")
        for family in self.families:
            _one_of("family", family, FAMILIES)
            self._check_pairs(family)
        _one_of("granularity", self.granularity, GRANULARITIES)
        self._check_numbers()

    def _check_numbers(self) -> None:
        if not self.rows or any(row < 1 for row in self.rows):
            raise InputError(f"rows must be positive integers, not {self.rows!r}")
        if not self.shares or any(not 0 < share <= 1 for share in self.shares):
            raise InputError(f"shares must lie in (0, 1], not {self.shares!r}")
        if not self.widths or any(not 0 < width <= 16 for width in self.widths) or 1.0 not in self.widths:
            raise InputError(f"widths must lie in (0, 16], with 1 among them, not {self.widths!r}")
        if not self.folding or len(set(self.folding)) != len(self.folding):
            raise InputError(f"folding must be a list of different truth values, not {self.folding!r}")
        if self.channel_group < 1:
            raise InputError(f"channel_group must be at least 1 output channel, not {self.channel_group!r}")

    def _check_pairs(self, family: str) -> None:
        pairs = list(product(self.choices(family, "inputs"), self.choices(family, "weights")))
        for operand in ("scores", "values"):
            left = self.choices(family, operand)
            cache = self.choices(family, "cache")
            pairs += product(left, cache) if cache else [(name, name) for name in left]
        for lhs, rhs in pairs:
            operands = parse_format(lhs), parse_format(rhs)
            if family != EMULATED and supports(*operands) is None:
                raise InputError(
                    f"family {family!r}: no hardware unit multiplies {lhs!r} by {rhs!r}; remove it from the search, or "
                    f"search it in family {EMULATED!r} with objective 'bits'"
                )

    def choices(self, family: str, operand: str) -> tuple[str, ...]:
        """Return the choices of an operand of :data:`OPERANDS`; of scores and values, those of attention if empty."""
        given: tuple[str, ...] = getattr(self, f"{family}_{operand}")
        return given or (self.choices(family, "attention") if operand in ("scores", "values") else ())

    def splits_attention(self, family: str) -> bool:
        """Return whether QKᵀ and PV choose their formats alone."""
        return bool(getattr(self, f"{family}_scores") or getattr(self, f"{family}_values"))

    def formats(self) -> list[str]:
        """Return every format that a design may have."""
        return sorted({name for f in self.families for operand in OPERANDS for name in self.choices(f, operand)})

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a JSON object (tuples as lists)."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def _one_of(what: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise InputError(f"{what} must be one of {', '.join(allowed)}, not {value!r}{nearest(value, allowed)}")
