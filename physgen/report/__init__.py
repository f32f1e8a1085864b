"""The report of a comparison: text, JSON and a page."""

from physgen.report.report import Report, Row

__all__ = ["Report", "Row"]
