"""A sampler that gives certain parameters prescribed values: the first designs of a study, and designs tried again.

Optuna's own queue of enqueued trials would do this too, but out of order after a crash, and samplers that keep books
(NSGA-II's generations) would not see such trials. Here the sampler proposes as always, so its random numbers and its
books are as they would be, and what is prescribed replaces the proposal.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

__all__ = ["PrescribedSampler"]


class PrescribedSampler(BaseSampler):  # type: ignore[misc]
    """Another sampler, whose proposals give way to `values` where a distribution allows them.

    Parameters
    ----------
    values : mapping of parameter to value
    sampler : BaseSampler
    """

    def __init__(self, values: Mapping[str, Any], sampler: BaseSampler) -> None:
        self._values, self._sampler = values, sampler

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the other sampler's."""
        space: dict[str, BaseDistribution] = self._sampler.infer_relative_search_space(study, trial)
        return space

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return the other sampler's proposal with what is prescribed."""
        drawn = self._sampler.sample_relative(study, trial, search_space)
        return {name: self._pick(name, search_space[name], value) for name, value in drawn.items()}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return what is prescribed, or the other sampler's proposal."""
        drawn = self._sampler.sample_independent(study, trial, param_name, param_distribution)
        return self._pick(param_name, param_distribution, drawn)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Tell the other sampler."""
        self._sampler.before_trial(study, trial)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Tell the other sampler."""
        self._sampler.after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        """Tell the other sampler."""
        self._sampler.reseed_rng()

    def _pick(self, name: str, distribution: BaseDistribution, drawn: Any) -> Any:
        if name not in self._values:
            return drawn
        value = self._values[name]
        if isinstance(distribution, CategoricalDistribution):
            return value if value in distribution.choices else drawn
        return value if distribution.low <= value <= distribution.high else drawn
