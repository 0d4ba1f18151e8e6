"""The paper's rows: beside the benchmarks' own data, and beside nothing else."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from mkgc_cl import plain_yaml
from mkgc_cl.data.provenance import text_fingerprint
from mkgc_cl.data.samples import TaskStream
from mkgc_cl.experiments.pipeline.settings import Settings

PAPER = Path(__file__).resolve().parents[1] / "paper"

Rows = dict[str, list[float | None]]


@dataclass(frozen=True)
class Paper:
    """What the paper says of the stream of one order.

    Args:
        tables: its tables, as in ``paper/tables.yaml``; none where its numbers do not belong.
        why_not: why they do not, although the stream goes by the name of theirs; empty otherwise.
    """

    tables: tuple[Mapping[str, Any], ...] = ()
    why_not: str = ""

    def rows(self, names: Collection[str]) -> tuple[Rows, tuple[str, ...]]:
        """Return the paper's numbers for rows of ours, and the notes that go with them."""
        rows: Rows = {}
        notes = (f"No row of the paper: {self.why_not}.",) if self.why_not else ()
        for table in self.tables:  # Table 3 comes last and replaces what Table 2 says of its rows
            theirs = {name: name for name in table["rows"]} | table["system_rows"]
            found = {n: table["rows"][theirs[n]] for n in names if n in theirs}
            if found:
                rows, notes = rows | found, tuple(table["notes"])
        return rows, notes


def paper_of(settings: Settings, stream: TaskStream) -> Paper:
    """Return what the paper says of a stream.

    Its numbers are of whole streams, of the test samples, with nothing taken away, and of its own
    benchmarks. Of images that are blank the caption tells.
    """
    whole = (settings.stream.split, settings.stream.control, settings.stream.rule)
    if whole != ("test", "none", "priority"):
        return Paper()
    name = (settings.scenario, settings.order)  # of some tasks alone the order has another name
    every = _read("tables.yaml").values()
    tables = tuple(table for table in every if (table["scenario"], table["order"]) == name)
    if not tables:
        return Paper()
    if wrong := other_data(stream, _read("benchmarks.yaml")["/".join(name)]):
        return Paper(why_not=f"the data are not those of its benchmark ({wrong})")
    return Paper(tables)


def other_data(stream: TaskStream, benchmark: Mapping[str, Any]) -> str:
    """Say in what a stream is not a benchmark of ``paper/benchmarks.yaml``; empty where it is."""
    for split in ("train", "test"):
        ours = [len(getattr(task, split)) for task in stream.tasks]
        if ours != benchmark[split]:
            return f"{split} samples per task {_listed(ours)}, not {_listed(benchmark[split])}"
    same = text_fingerprint(stream) == benchmark["text"]
    return "" if same else "as many samples, but other words or labels"


def _listed(numbers: Collection[int]) -> str:
    return " ".join(map(str, numbers)) or "none"


@cache
def _read(name: str) -> Any:
    """One of the package's files, to be looked at: parsing them takes longer than a plan."""
    return plain_yaml.parse((PAPER / name).read_text(encoding="utf-8"), path=PAPER / name).data
