"""Samplers, every setting stated (Optuna 5 changed defaults).

A sampler is made anew for every trial, seeded by the study's seed and the trial's index: what it proposes depends on
nothing but the finished trials, so a search that was interrupted and resumed equals one that ran through.
"""

from typing import Literal, get_args
from warnings import catch_warnings, simplefilter

import numpy as np
import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler

from mxhw.errors import InputError, nearest

__all__ = ["SAMPLERS", "SamplerName", "make_sampler"]

SamplerName = Literal["tpe", "nsga2", "random"]
SAMPLERS: tuple[str, ...] = get_args(SamplerName)
_STARTUP_TRIALS = 8  # the enqueued designs count; below this TPE draws at random
_CANDIDATES = 48  # twice Optuna's 24: a proposal costs milliseconds, a trial about a second
_POPULATION = 16


def make_sampler(name: str, seed: int, index: int) -> BaseSampler:
    """Return the sampler that proposes trial `index` of a study with this seed.

    Raises
    ------
    InputError
        For an unknown name.
    """
    mixed = int(np.random.SeedSequence([seed, index]).generate_state(1)[0])
    if name == "random":
        return RandomSampler(seed=mixed)
    if name == "nsga2":
        return NSGAIISampler(population_size=_POPULATION, seed=mixed)
    if name != "tpe":
        raise InputError(f"sampler must be one of {', '.join(SAMPLERS)}, not {name!r}{nearest(name, SAMPLERS)}")
    with catch_warnings():
        simplefilter("ignore", ExperimentalWarning)  # `group` is what a space of two families needs
        return TPESampler(
            n_startup_trials=_STARTUP_TRIALS,
            n_ei_candidates=_CANDIDATES,
            multivariate=True,  # formats of neighbouring layers and the rows depend on each other
            group=True,  # a family's parameters exist only in that family: one joint model per group
            constant_liar=False,  # one worker: there are no running trials to be kept away from
            seed=mixed,
        )


optuna.logging.set_verbosity(optuna.logging.WARNING)
