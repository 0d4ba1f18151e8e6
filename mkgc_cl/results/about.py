"""What the tables of an experiment say that its records do not, handed over by the experiment.

``about.json`` in the folder of an experiment holds it from before the first run, so that whoever
reads the folder builds the same tables, of a grid that was interrupted too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mkgc_cl._files import write_atomic
from mkgc_cl.errors import DataError
from mkgc_cl.results.escapes import slug
from mkgc_cl.results.figures import draw_curves, draw_matrix
from mkgc_cl.results.json_files import number_in, read_json, text_in, texts_in, to_json
from mkgc_cl.results.marks import marks, origin_words
from mkgc_cl.results.record import RunRecord, by_system
from mkgc_cl.results.render import write_table
from mkgc_cl.results.table import Table
from mkgc_cl.results.tables import MEASURES, Measure, build_table

FILE = "about.json"
_FORMAT = 1


@dataclass(frozen=True)
class About:
    """What an experiment says of itself.

    Args:
        systems: order of the rows; others follow by name.
        reference: the system that the others are compared with; ``None`` compares nothing.
        words: for the settings of every table: encoders, epochs, budget.
        notes: below every table.
        own: keys of configurations that belong to single systems.
        paper: per system the paper's numbers of A.
        paper_notes: below the table of A.
    """

    systems: tuple[str, ...] = ()
    reference: str | None = None
    words: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    paper: Mapping[str, Sequence[float | None]] = field(default_factory=dict)
    paper_notes: tuple[str, ...] = ()

    def place(self, record: RunRecord) -> tuple[int, str, int]:
        """Return what records are sorted by: the order of their systems, then the seed.

        A system that is not named comes last: another version may have added its runs.
        """
        known = record.system in self.systems
        place = self.systems.index(record.system) if known else len(self.systems)
        return place, record.system, record.seed

    def marks(self, records: Sequence[RunRecord]) -> tuple[str, ...]:
        """Return what a reader must know first (:func:`~mkgc_cl.results.marks.marks`)."""
        return marks(records, own=self.own)

    def table(self, records: Sequence[RunRecord], measure: Measure) -> Table:
        """Return a table of these records.

        Raises:
            DataError: they make no table.
        """
        records, marked = sorted(records, key=self.place), self.marks(records)
        of_paper = measure == "A"  # it has no other numbers
        return build_table(
            records,
            measure=measure,
            paper=self.paper if of_paper else None,
            notes=[*(self.paper_notes if of_paper else ()), *self.notes],
            remarks=[*self.words, *origin_words(records, marked)],
            reference=self.reference,
            marks=marked,
        )


def write_about(out: Path, about: About) -> None:
    """Write it to the folder of an experiment.

    Raises:
        OSError: it cannot be written.
    """
    write_atomic(out / FILE, to_json({"about": _FORMAT, **asdict(about)}))


def read_about(out: Path) -> About:
    """Read what :func:`write_about` wrote.

    Raises:
        DataError: it cannot be read, or is of another form; a subclass where there is none.
    """
    path = out / FILE
    try:
        data: Any = read_json(path)
        if data["about"] != _FORMAT:
            raise ValueError(f"format {data['about']!r}, expected {_FORMAT}")
        named = ("systems", "words", "notes", "own", "paper_notes")
        said: dict[str, Any] = {key: texts_in(data[key]) for key in named}
        said["paper"] = {text_in(k): [*map(number_in, row)] for k, row in data["paper"].items()}
        said["reference"] = None if data["reference"] is None else text_in(data["reference"])
        return About(**said)
    except DataError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"not what an experiment says of itself ({error}); the same command writes it again",
            path=path,
        ) from error


def write_results(out: Path, records: Sequence[RunRecord], about: About) -> Table:
    """Write every table and figure of these records; return the table of A.

    Raises:
        DataError: these records make no table.
        OSError: a file cannot be written.
    """
    write_about(out, about)
    tables = {measure: about.table(records, measure) for measure in MEASURES}
    for measure, table in tables.items():
        stem = f"table-{measure}"
        write_table(table, lambda name, text: write_atomic(out / name, text), stem=stem)
    records, figures = sorted(records, key=about.place), out / "figures"
    draw_curves(records, figures / "A", measure="A", reference=about.reference)
    draw_curves(records, figures / "U", measure="U", reference=about.reference)
    for system, group in by_system(records).items():
        draw_matrix(group, figures / f"matrix-{slug(system, 80)}")
    return tables["A"]
