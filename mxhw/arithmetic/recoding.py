"""One bit-serial array for weights of several types: codes of a type spelled as codes of one that has all its values.

The integers stay what they are. FP3 counts in units and FP4 in half units (BitMoD, arXiv 2411.11745, section III), yet
an array knows integers only: an FP3 weight of 6 is FP4's 6, which FP4 reads as 3.0 and the scales of the layer's rows
put right. So the matrix of integers, its sums and its scales are the same in either type, and the unit's factor is 1.

No special value of the target is used: the selectors of recoded groups do not matter.

The same holds of output channels of one weight that are in several formats: :func:`array_fields`.
"""

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from mxhw.arithmetic.terms import WeightType, weight_type_named, weight_types
from mxhw.arithmetic.units import weight_group, weight_type, weight_unit, why_no_array
from mxhw.errors import InputError
from mxhw.formats import Encoded, Format, formats_in, parse_format, runs_of

__all__ = ["array_fields", "common_weight_type", "recode"]

DIALECT = "dialect4"


def common_weight_type(formats: Sequence[Format | str]) -> str:
    """Return the weight type of the array that computes with weights of all these formats.

    It is their own type if they have one in common, else the type with the fewest steps, then bits, into which
    :func:`recode` spells them all (int8 has the values of every type); "dialect4" for DialectFP4 weights.

    Raises
    ------
    InputError
        If units, groups or blocks of two of them differ, or there is no unit for one; they are named.
    """
    known = [own for fmt in formats for own in formats_in(parse_format(fmt))]
    if not known:
        raise InputError("a common weight type needs at least one format")
    if (reason := why_no_array(known)) is not None:
        raise InputError(reason)
    first = known[0]
    if weight_unit(first) == "dialect":
        return DIALECT
    names = [weight_type(fmt) for fmt in known]
    if len(set(names)) == 1:
        return names[0]
    return next(name for name in _by_cost(weight_group(first) is not None) if _holds_all(name, names))


def recode(codes: Tensor, selector: Tensor | None, source: str, target: str) -> Tensor:
    """Return codes of weight type ``target`` that mean the same integers.

    ``codes`` [..., groups, group] are unsigned patterns of ``source``, ``selector`` [..., groups] picks the special
    values of their groups (None if the type has none). int64.

    Raises
    ------
    InputError
        If the target does not have all values of the source, or a code is none that the source's formats store.
    """
    codes = codes.long()
    if source == target:
        return codes
    table = _table(source, target)
    row = torch.zeros(codes.shape[:-1], dtype=torch.int64) if selector is None else selector.long()
    found = torch.tensor(table)[row.unsqueeze(-1).expand(codes.shape), codes]
    if bool((found < 0).any()):
        raise InputError(f"{source} weights must be symmetric: code {int(codes[found < 0][0])} cannot be recoded")
    return found


def array_fields(fmt: Format, encoded: Encoded, target: str) -> dict[str, Tensor]:
    """Return what an array of weight type ``target`` keeps of a bit-serial weight [N, K]: "code" [N, groups, group],
    "multiplier" and "selector" [N, groups] where the format and the type have them. int64.

    Every run of output channels is recoded by itself. Raises InputError as :func:`recode` does.
    """
    found: list[dict[str, Tensor]] = []
    for own, part in runs_of(fmt, encoded):
        stored, source = own.stored(part), weight_type(own)
        fields = {"code": recode(stored["code"], stored.get("selector"), source, target)}
        if "multiplier" in stored:
            fields["multiplier"] = stored["multiplier"]
        if weight_type_named(target).special_values:
            fields["selector"] = stored["selector"] if source == target else torch.zeros_like(stored["multiplier"])
        found.append(fields)
    return {name: torch.cat([fields[name] for fields in found]) for name in found[0]}


@cache
def _table(source: str, target: str) -> list[list[int]]:
    """Return the target's code by selector and code of the source; -1 for the lowest integer, which no format uses."""
    mine, theirs = weight_type_named(source), weight_type_named(target)
    code_of = _code_of_value(theirs)
    rows = []
    for selector in range(max(1, len(mine.special_values))):
        values = [mine.value(code, selector) for code in range(1 << mine.code_bits)]
        missing = [value for value in values if value not in code_of and abs(value) <= mine.largest]
        if missing:
            raise InputError(f"{source} weights cannot be recoded to {target}, which does not have {missing[0]}")
        rows.append([code_of[value] if abs(value) <= mine.largest else -1 for value in values])
    return rows


def _code_of_value(kind: WeightType) -> dict[int, int]:
    """Return the code of every value that needs no special value, and that a symmetric format has."""
    plain = (code for code in range(1 << kind.code_bits) if code != kind.special_code)
    values = {kind.value(code): code for code in plain}
    return {value: code for value, code in values.items() if abs(value) <= kind.largest}


def _holds_all(target: str, sources: Sequence[str]) -> bool:
    return all(source == target or _holds(target, source) for source in sources)


@cache
def _holds(target: str, source: str) -> bool:
    kind = weight_type_named(source)
    have = _code_of_value(weight_type_named(target))
    selectors = range(max(1, len(kind.special_values)))
    values = {kind.value(code, selector) for code in range(1 << kind.code_bits) for selector in selectors}
    return all(value in have for value in values if abs(value) <= kind.largest)


def _by_cost(has_groups: bool) -> list[str]:
    """Return the types that an array can have, the cheapest first; special values need groups."""
    kinds = (kind for kind in weight_types().values() if not kind.selector_significances)
    fitting = (kind for kind in kinds if has_groups or not kind.magnitudes)
    return [kind.name for kind in sorted(fitting, key=lambda kind: (kind.steps, kind.code_bits))]
