"""What the report says of tables on several settings or orders: ``<name>/<stem>-<digest>.*``."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mkgc_cl.results.counted import counted
from mkgc_cl.results.markup import Markup, element, joined
from mkgc_cl.results.report_folder import MARKS, is_experiment, text_of
from mkgc_cl.results.report_parts import attempt, figure, numbers
from mkgc_cl.results.table_file import HEAD, read_table


@dataclass(frozen=True)
class Sweeps:
    """The sweeps of one name.

    Args:
        folder: of the name.
        name: the same in words.
        tables: their CSV files.
    """

    folder: Path
    name: str
    tables: tuple[Path, ...]


def sweep_tables(runs: Path) -> dict[Path, tuple[Path, ...]]:
    """Return the CSV files of sweeps by their folder: of a name under ``runs``, or itself one.

    An experiment's own folder has none: its tables are built from its records.
    """
    inner = (path for path in sorted(runs.iterdir()) if not path.name.startswith("."))
    names = [path for path in (runs, *inner) if path.is_dir() and not is_experiment(path)]
    found = {name: tuple(filter(_is_table, sorted(name.glob("*.csv")))) for name in names}
    return {name: tables for name, tables in found.items() if tables}


def section(sweeps: Sweeps, *, anchor: str) -> Markup:
    """Build table and image of every sweep of a name; one that cannot be read says why."""
    parts: list[Markup | None] = [element("h2", sweeps.name, id=anchor), badges(sweeps)]
    parts.append(element("p", summary(sweeps)))
    parts += [attempt(sweeps.folder, path.stem, partial(_sweep, path)) for path in sweeps.tables]
    return element("section", joined(parts, "\n"), aria_labelledby=anchor)


def badges(sweeps: Sweeps) -> Markup | None:
    """Build the marks that the captions carry."""
    texts = (text_of(path.with_suffix(".md")) or "" for path in sweeps.tables)
    said = " ".join(text.partition("\n")[0] for text in texts)
    found = [element("li", mark, class_="warn") for mark in MARKS if mark in said]
    return element("ul", joined(found, " "), class_="badges") if found else None


def summary(sweeps: Sweeps) -> str:
    """Say in a sentence what is there."""
    stems = [path.stem for path in sweeps.tables]
    return f"{counted(len(stems), 'table')} on several settings or orders: {', '.join(stems)}."


def _sweep(path: Path) -> Markup:
    made = read_table(path)
    what = made.caption.partition(";")[0]
    png = path.with_suffix(".png")
    parts: list[Markup] = [numbers(made)]
    if png.exists():
        alt = f"Line chart: {what}, by system; numbers as in the table"
        parts.append(element("div", figure(png, alt, what), class_="figures"))
    return joined(parts, "\n")


def _is_table(path: Path) -> bool:
    return (text_of(path) or "").startswith(HEAD)
