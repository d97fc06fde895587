"""Search over formats, arrays and budget shares: space, strategies, workers, the study, the front and the choice."""

from mxhw.passes.search.choose import Choice, choose
from mxhw.passes.search.figures import ACCURACY, FIGURES, Figure, check_bounds, figure_of
from mxhw.passes.search.front import hypervolume, pareto_front
from mxhw.passes.search.knowledge import Knowledge, learn, searched_units
from mxhw.passes.search.objective import Outcome, Problem, TaskScore
from mxhw.passes.search.record import TrialRecord
from mxhw.passes.search.search import Search, SearchConfig, SearchResult, check_feasible, search
from mxhw.passes.search.space import Design, SearchSpace
from mxhw.passes.search.space_config import EMULATED, Family, Granularity, SpaceConfig
from mxhw.passes.search.strategies import STRATEGIES, StrategyName
from mxhw.passes.search.study import check_study_file

__all__ = [
    "ACCURACY",
    "EMULATED",
    "FIGURES",
    "STRATEGIES",
    "Choice",
    "Design",
    "Family",
    "Figure",
    "Granularity",
    "Knowledge",
    "Outcome",
    "Problem",
    "Search",
    "SearchConfig",
    "SearchResult",
    "SearchSpace",
    "SpaceConfig",
    "StrategyName",
    "TaskScore",
    "TrialRecord",
    "check_bounds",
    "check_feasible",
    "check_study_file",
    "choose",
    "figure_of",
    "hypervolume",
    "learn",
    "pareto_front",
    "search",
    "searched_units",
]
