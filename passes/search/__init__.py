"""Search over formats, arrays and budget shares: the space, samplers, the study file, the front and the choice."""

from mxhw.passes.search.choose import Choice, choose
from mxhw.passes.search.front import hypervolume, pareto_front
from mxhw.passes.search.objective import OBJECTIVES, HardwareObjective, Outcome, Problem, QualityMeasure
from mxhw.passes.search.record import TrialRecord
from mxhw.passes.search.samplers import SAMPLERS, SamplerName
from mxhw.passes.search.search import Search, SearchConfig, SearchResult, check_feasible, search
from mxhw.passes.search.seeds import seed_designs
from mxhw.passes.search.space import EMULATED, Design, Family, SearchSpace, SpaceConfig
from mxhw.passes.search.study import check_study_file

__all__ = [
    "EMULATED",
    "OBJECTIVES",
    "SAMPLERS",
    "Choice",
    "Design",
    "Family",
    "HardwareObjective",
    "Outcome",
    "Problem",
    "QualityMeasure",
    "SamplerName",
    "Search",
    "SearchConfig",
    "SearchResult",
    "SearchSpace",
    "SpaceConfig",
    "TrialRecord",
    "check_feasible",
    "check_study_file",
    "choose",
    "hypervolume",
    "pareto_front",
    "search",
    "seed_designs",
]
