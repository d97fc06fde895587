"""The chosen design: the cheapest one whose perplexity stays within a stated distance of the float model's."""

from collections.abc import Sequence
from dataclasses import dataclass

from mxhw.errors import InputError
from mxhw.passes.search.record import TrialRecord

__all__ = ["Choice", "choose"]


@dataclass(frozen=True)
class Choice:
    """A design, and why.

    Attributes
    ----------
    record : TrialRecord
    within : bool
        Whether it keeps the wanted distance; False if no trial did and the best one in quality was taken.
    reason : str
        One line for the report.
    """

    record: TrialRecord
    within: bool
    reason: str


def choose(records: Sequence[TrialRecord], float_perplexity: float, max_perplexity_increase: float) -> Choice:
    """Return the trial of least hardware cost with perplexity <= float_perplexity * (1 + max_perplexity_increase).

    Equal costs are decided by quality. If no trial is good enough, the one of best perplexity is returned, which
    `within` and `reason` say.

    Raises
    ------
    InputError
        If there are no trials.
    """
    if not records:
        raise InputError("there is no finished trial to choose from")
    limit = float_perplexity * (1 + max_perplexity_increase)
    good = [record for record in records if record.perplexity <= limit]
    if good:
        record = min(good, key=lambda r: (r.values[1], r.perplexity, r.number))
        return Choice(
            record,
            True,
            f"cheapest of {len(good)} designs with perplexity up to {limit:.4f} "
            f"({100 * max_perplexity_increase:g} % above the float model's {float_perplexity:.4f})",
        )
    record = min(records, key=lambda r: (r.perplexity, r.values[1], r.number))
    return Choice(
        record,
        False,
        f"no design has a perplexity up to {limit:.4f} ({100 * max_perplexity_increase:g} % above the float model's "
        f"{float_perplexity:.4f}); the best one in quality was taken, with {record.perplexity:.4f}",
    )
