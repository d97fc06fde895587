"""The chosen design: the cheapest one whose perplexity stays within a stated distance of the float model's."""

from collections.abc import Sequence
from dataclasses import dataclass

from mxhw.errors import InputError
from mxhw.passes.search.figures import FIGURES, Figure
from mxhw.passes.search.record import TrialRecord

__all__ = ["Choice", "choose"]

_DEFAULT = (FIGURES["kl"], FIGURES["cycles"])


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


def choose(
    records: Sequence[TrialRecord],
    float_perplexity: float,
    max_perplexity_increase: float,
    figures: Sequence[Figure] = _DEFAULT,
) -> Choice:
    """Return the best trial in its cost with perplexity <= float_perplexity * (1 + max_perplexity_increase).

    The cost is the first objective that is not of quality, the first one if all are. Equal costs are decided by
    perplexity. If no trial is good enough, the one of best perplexity is returned, which `within` and `reason` say.

    Parameters
    ----------
    records : complete trials that keep every bound.
    figures : objectives, in the order of the records' values.

    Raises
    ------
    InputError
        If there are no trials.
    """
    if not records:
        raise InputError("there is no finished trial to choose from")
    at = next((i for i, figure in enumerate(figures) if figure.stage not in ("quality", "task")), 0)

    def cost(record: TrialRecord) -> float:
        return -record.values[at] if figures[at].maximize else record.values[at]

    limit = float_perplexity * (1 + max_perplexity_increase)
    good = [record for record in records if record.perplexity <= limit]
    if good:
        record = min(good, key=lambda r: (cost(r), r.perplexity, r.number))
        return Choice(
            record,
            True,
            f"{'highest' if figures[at].maximize else 'least'} {figures[at].name} of {len(good)} designs with "
            f"perplexity up to {limit:.4f} ({100 * max_perplexity_increase:g} % above the float model's "
            f"{float_perplexity:.4f})",
        )
    record = min(records, key=lambda r: (r.perplexity, cost(r), r.number))
    return Choice(
        record,
        False,
        f"no design has a perplexity up to {limit:.4f} ({100 * max_perplexity_increase:g} % above the float model's "
        f"{float_perplexity:.4f}); the best one in quality was taken, with {record.perplexity:.4f}",
    )
