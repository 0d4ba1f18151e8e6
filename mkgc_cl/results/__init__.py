"""What runs leave behind, read: records, statistics, tables, figures, one page of all.

Importing this package costs nothing heavy: no torch, and matplotlib only inside
:mod:`mkgc_cl.results.figures`, when a figure is drawn.
"""

from mkgc_cl.results.about import About, read_about, write_about, write_results
from mkgc_cl.results.record import RecordError, RunRecord
from mkgc_cl.results.render import write_table
from mkgc_cl.results.statistics import Comparison, compare, confidence_interval, holm
from mkgc_cl.results.table import Row, Stat, Table, read_table
from mkgc_cl.results.tables import build_table

__all__ = [
    "About",
    "Comparison",
    "RecordError",
    "Row",
    "RunRecord",
    "Stat",
    "Table",
    "build_table",
    "compare",
    "confidence_interval",
    "holm",
    "read_about",
    "read_table",
    "write_about",
    "write_results",
    "write_table",
]
