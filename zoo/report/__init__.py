"""``report.html``: one file that shows how a run went, what it gets wrong, and how to repeat it."""

from zoo.report.page import write_report

__all__ = ["write_report"]
