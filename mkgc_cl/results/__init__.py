"""What a run leaves behind: records, their provenance, the grid that makes them, tables, figures.

Importing this package costs nothing heavy: no torch, and matplotlib only inside
:mod:`mkgc_cl.results.figures`, when a figure is drawn.
"""

from mkgc_cl.results.grid import Cell, CellFailure, GridResult, run_grid
from mkgc_cl.results.record import CellRecord, RecordError
from mkgc_cl.results.tables import Row, Stat, Table, build_table

__all__ = [
    "Cell",
    "CellFailure",
    "CellRecord",
    "GridResult",
    "RecordError",
    "Row",
    "Stat",
    "Table",
    "build_table",
    "run_grid",
]
