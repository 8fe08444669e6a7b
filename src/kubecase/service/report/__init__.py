"""The last word on every investigation: three texts that say what is known and how it went.

Here belong the value they are made from, the machine form of a result, and one renderer for each
of Markdown, HTML and JSON. Never here: writing a file, reading a clock, deciding how an
investigation ended, or letting a word of an agent or a cluster act as markup.
"""

from kubecase.service.report.extract import machine_part
from kubecase.service.report.final import FinalReport, Ran, Step, render
from kubecase.service.report.opinions import Opinion
from kubecase.service.report.plain import plain_reports
from kubecase.service.report.result import agent_result

__all__ = [
    "FinalReport", "Opinion", "Ran", "Step", "agent_result", "machine_part", "plain_reports",
    "render",
]  # fmt: skip
