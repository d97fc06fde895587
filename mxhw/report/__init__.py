"""What people see of a run: an HTML page that stands alone, and a still picture of the front."""

from mxhw.report.page import cosim_verdict, summary_rows, write_cosim_page, write_report
from mxhw.report.picture import write_front

__all__ = ["cosim_verdict", "summary_rows", "write_cosim_page", "write_front", "write_report"]
