"""Optuna's samplers, every setting stated (Optuna 5 changed defaults).

A sampler is made anew for every trial, seeded by the study's seed and the trial's index: what it proposes depends on
nothing but the finished trials, so a search that was interrupted and resumed equals one that ran through.
"""

from typing import Literal, get_args
from warnings import catch_warnings, simplefilter

import numpy as np
import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, NSGAIISampler, QMCSampler, RandomSampler, TPESampler

__all__ = ["OptunaSampler", "make_sampler", "seed_of"]

OptunaSampler = Literal["tpe", "nsga2", "qmc", "random"]
_STARTUP_TRIALS = 8  # the enqueued designs count; below this TPE draws at random
_CANDIDATES = 48  # twice Optuna's 24: a proposal costs milliseconds, a trial about a second
_POPULATION = 16


def make_sampler(name: OptunaSampler, seed: int, index: int) -> BaseSampler:
    """Return the sampler that proposes trial `index` of a study with this seed."""
    assert name in get_args(OptunaSampler)
    mixed = seed_of(seed, index)
    with catch_warnings():
        simplefilter("ignore", ExperimentalWarning)  # `group` is what a space of two families needs; QMC is new
        if name == "random":
            return RandomSampler(seed=mixed)
        if name == "nsga2":
            return NSGAIISampler(population_size=_POPULATION, seed=mixed)
        if name == "qmc":
            # One sequence for the whole study: Sobol's points are good together, not alone.
            return QMCSampler(qmc_type="sobol", scramble=True, seed=seed, warn_independent_sampling=False)
        return TPESampler(
            n_startup_trials=_STARTUP_TRIALS,
            n_ei_candidates=_CANDIDATES,
            multivariate=True,  # formats of neighbouring layers and the rows depend on each other
            group=True,  # a family's parameters exist only in that family: one joint model per group
            constant_liar=True,  # of other workers' running trials
            seed=mixed,
        )


def seed_of(seed: int, index: int) -> int:
    """Return the seed of a trial's sampler."""
    return int(np.random.SeedSequence([seed, index]).generate_state(1)[0])


optuna.logging.set_verbosity(optuna.logging.WARNING)
