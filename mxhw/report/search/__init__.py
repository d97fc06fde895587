"""What people see of a search: its record, a page that stands alone, and still pictures."""

from mxhw.report.search.build import search_report
from mxhw.report.search.page import SEARCH_PAGE, write_search_report
from mxhw.report.search.picture import (
    write_comparison,
    write_hypervolume,
    write_search_front,
    write_search_pictures,
)
from mxhw.report.search.record import (
    SEARCH_FILE,
    Chosen,
    Comparison,
    Constraint,
    Curve,
    Objective,
    SearchReport,
    Sensitivity,
    Strategy,
    Trial,
    load_search_report,
    save_search_report,
)

__all__ = [
    "SEARCH_FILE",
    "SEARCH_PAGE",
    "Chosen",
    "Comparison",
    "Constraint",
    "Curve",
    "Objective",
    "SearchReport",
    "Sensitivity",
    "Strategy",
    "Trial",
    "load_search_report",
    "save_search_report",
    "search_report",
    "write_comparison",
    "write_hypervolume",
    "write_search_front",
    "write_search_pictures",
    "write_search_report",
]
