"""What people see: HTML pages that stand alone, of a run and of a graph, and a still picture of the front."""

from mxhw.report.graph_page import write_graph_page
from mxhw.report.page import summary_rows, write_cosim_page, write_report
from mxhw.report.picture import write_front
from mxhw.report.simulated import cosim_verdict

__all__ = ["cosim_verdict", "summary_rows", "write_cosim_page", "write_front", "write_graph_page", "write_report"]
