"""The table of sensitivities: unit × candidate → loss increase; measured once, used for any budget and platform."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from mxhw.errors import InputError, nearest
from mxhw.passes.analysis.sensitivity.units import Unit

__all__ = ["METRICS", "SensitivityTable", "check_metric"]

METRICS = ("mse", "kl", "taylor", "fisher", "hessian")
_MARK = "mxhw_sensitivity"
VERSION = 1


def check_metric(metric: str) -> None:
    """Raise an InputError for a metric that does not exist."""
    if metric not in METRICS:
        raise InputError(
            f"sensitivity metric must be one of {', '.join(METRICS)}, not {metric!r}{nearest(str(metric), METRICS)}"
        )


@dataclass(frozen=True)
class SensitivityTable:
    """Loss increase when a unit alone takes a candidate.

    Attributes
    ----------
    metric : str
        Of :data:`METRICS`; :mod:`mxhw.passes.analysis.sensitivity` says what each one is and its unit.
    units : tuple of Unit
    losses : mapping of unit name to mapping of format name to float
        Finite and not negative, one for every candidate of every unit.

    Raises
    ------
    InputError
        If a loss is absent, negative or not finite.
    """

    metric: str
    units: tuple[Unit, ...]
    losses: Mapping[str, Mapping[str, float]]

    def __post_init__(self) -> None:
        check_metric(self.metric)
        for unit in self.units:
            for candidate in unit.candidates:
                loss = self.losses.get(unit.name, {}).get(candidate)
                if loss is None or not isfinite(loss) or loss < 0:
                    raise InputError(
                        f"table of sensitivities: the loss of {unit.name!r} in {candidate!r} must be a finite number "
                        f"that is not negative, not {loss}"
                    )

    def loss(self, unit: str, candidate: str) -> float:
        """Return the loss increase of a unit in a candidate; InputError for one that was not measured."""
        if unit not in self.losses:
            raise InputError(f"no unit {unit!r} in the table of sensitivities{nearest(unit, self.losses)}")
        if candidate not in (row := self.losses[unit]):
            raise InputError(
                f"{candidate!r} was not measured for unit {unit!r}, only {', '.join(row)}{nearest(candidate, row)}"
            )
        return row[candidate]

    def predict(self, choice: Mapping[str, str]) -> float:
        """Return the sum of the losses of an assignment (unit name → candidate) of all units.

        Raises
        ------
        InputError
            If a unit is missing or unknown, or takes what was not measured.
        """
        if missing := [unit.name for unit in self.units if unit.name not in choice]:
            raise InputError(f"the assignment lacks unit {missing[0]!r} and {len(missing) - 1} more of the table")
        return float(sum(self.loss(unit, candidate) for unit, candidate in choice.items()))

    @property
    def candidates(self) -> tuple[str, ...]:
        """Every candidate of any unit, in the order of first appearance."""
        return tuple(dict.fromkeys(candidate for unit in self.units for candidate in unit.candidates))

    def rows(self, units: Sequence[str] | None = None) -> list[tuple[str, tuple[float | None, ...]]]:
        """Return (unit name, loss per one of :attr:`candidates`; None where the unit has no such candidate).

        Units in the order of `units`, by default that of the table.
        """
        names = [unit.name for unit in self.units] if units is None else list(units)
        return [(name, tuple(self.losses[name].get(each) for each in self.candidates)) for name in names]

    def __str__(self) -> str:
        """Return the table for people, the most sensitive unit first."""
        worst = sorted(self.losses, key=lambda name: -max(self.losses[name].values()))
        header = (self.metric, *self.candidates)
        body = [(name, *("-" if loss is None else f"{loss:.3g}" for loss in row)) for name, row in self.rows(worst)]
        widths = [max(len(line[i]) for line in (header, *body)) for i in range(len(header))]
        lines = []
        for name, *cells in (header, *body):
            right = (cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
            lines.append("  ".join((name.ljust(widths[0]), *right)))
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return {
            _MARK: VERSION,
            "metric": self.metric,
            "units": [unit.to_json() for unit in self.units],
            "losses": {name: dict(row) for name, row in self.losses.items()},
        }

    @classmethod
    def from_json(cls, data: object) -> "SensitivityTable":
        """Invert :meth:`to_json`.

        Raises
        ------
        InputError
            If the object is no table of sensitivities of this version.
        """
        if not isinstance(data, dict) or data.get(_MARK) != VERSION:
            raise InputError(f"no table of sensitivities of version {VERSION}: {data!r:.80}; measure it again")
        try:
            units = tuple(Unit.from_json(each) for each in data["units"])
            losses = {str(n): {str(c): float(v) for c, v in row.items()} for n, row in data["losses"].items()}
            metric = data["metric"]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(
                f"table of sensitivities is damaged: {type(error).__name__} {error}; measure it again"
            ) from None
        return cls(metric, units, losses)
