"""Early stop of a trial on a growing part of the text: when it is dominated, whatever the rest of the text brings.

Optuna's pruners know one objective only. Here a design is compared, window by window of the same text, with each
finished one of its family that is no worse in any other objective: where the mean difference of their losses is above zero by
:data:`ERRORS` standard errors (of a mean of a finite text: windows still to come can move it by no more), it is
dominated. Its quality is then estimated as that of the other plus the mean difference, which samplers may learn from;
it is never on the front, and never chosen. The same rule stops a design that breaks a bound of quality.

It is a rule of statistics, and sometimes wrong. Few windows know little of their spread, which is therefore taken to be
half of the mean at least, of losses a twentieth.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, inf, log, sqrt

from mxhw.passes.analysis.quality import Partial
from mxhw.passes.search.record import TrialRecord

__all__ = ["ERRORS", "LEAST_WINDOWS", "Stop", "stop_of"]

ERRORS = 3.0
LEAST_WINDOWS = 2
_LEAST_SPREAD = 0.5  # of the mean difference, or KL
_LEAST_LOSS_SPREAD = 0.05  # of the mean loss
_COLUMN = {"perplexity": 0, "kl": 1}  # of (loss, KL) of a window


@dataclass(frozen=True)
class Stop:
    """Why a trial needs no more of the text.

    Attributes
    ----------
    reason : str
    quality : estimate of the objective on all of the text.
    dominated_by : number of a finished trial, or None where a bound is broken.
    """

    reason: str
    quality: float
    dominated_by: int | None


def stop_of(
    seen: Partial,
    windows: int,
    measure: str,
    others: Sequence[float],
    records: Sequence[TrialRecord],
    losses: Sequence[Sequence[float]],
    constraints: Mapping[str, float],
) -> Stop | None:
    """Return why a trial may stop, or None.

    Parameters
    ----------
    seen : Partial
        What was seen of the text.
    windows : int
        Batches of windows of the whole text.
    measure : "kl" or "perplexity"
    others : values of the other objectives, to be small.
    records, losses : finished trials, and of each its values of `others`.
    constraints : bounds; those of "kl" and "perplexity" count here.
    """
    if len(seen.windows) < LEAST_WINDOWS or seen.complete:
        return None
    for name, column in _COLUMN.items():
        if name in constraints:
            least = _LEAST_LOSS_SPREAD if name == "perplexity" else _LEAST_SPREAD
            low, mean = _low([window[column] for window in seen.windows], windows, least)
            limit = log(constraints[name]) if name == "perplexity" else constraints[name]
            if low > limit:
                value = exp(mean) if name == "perplexity" else mean
                return Stop(f"{name} is about {value:.4g}, above the bound of {constraints[name]:g}", value, None)
    column = _COLUMN[measure]
    best: tuple[float, float, TrialRecord] | None = None
    for record, costs in zip(records, losses, strict=True):
        known = record.outcome.get("windows", ())
        if record.state != "complete" or len(known) != windows:
            continue
        if any(cost > own for cost, own in zip(costs, others, strict=True)):
            continue
        low, mean = _low([own[column] - one[column] for own, one in zip(seen.windows, known, strict=False)], windows)
        if low > 0 and (best is None or low > best[0]):
            best = low, mean, record
    if best is None:
        return None
    _, mean, record = best
    quality = record.outcome["quality"]
    estimate = quality["perplexity"] * exp(mean) if measure == "perplexity" else quality["kl"] + mean
    return Stop(
        f"trial {record.number} costs no more and is better by {mean:.4g} nats a token", estimate, record.number
    )


def _low(values: Sequence[float], windows: int, least: float = _LEAST_SPREAD) -> tuple[float, float]:
    """Return the mean of all windows less :data:`ERRORS` of its standard errors, and the mean, as far as is known."""
    count = len(values)
    mean = sum(values) / count
    if count < 2:
        return -inf, mean
    variance = sum((value - mean) ** 2 for value in values) / (count - 1)
    spread = max(sqrt(variance), least * abs(mean))
    error = spread * sqrt(max(0.0, 1 - count / windows) / count)
    return mean - ERRORS * error, mean
