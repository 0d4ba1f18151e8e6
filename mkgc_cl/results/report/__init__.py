"""One static page of everything under a folder of runs."""

from __future__ import annotations

import base64
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import mkgc_cl
from mkgc_cl._files import write_atomic
from mkgc_cl.errors import DataError
from mkgc_cl.results.escapes import without_controls
from mkgc_cl.results.report.collect import experiment_folders, sweep_tables
from mkgc_cl.results.report.sections import Entry, of_folder, of_group, of_nothing, of_sweeps
from mkgc_cl.results.table import PAPER
from mkgc_cl.results.writing import check_writable, written_to

logger = logging.getLogger(__name__)

__all__ = ["page", "write_html"]

TEMPLATE = Path(__file__).with_name("report.html.jinja")


def write_html(
    runs: str | Path,
    out: str | Path | None = None,
    *,
    say: Callable[[str], object] = logger.info,
) -> Path:
    """Write a self-contained HTML page of every experiment and every sweep under ``runs``.

    Numbers and figures come from the records of finished runs, so that the page is true of a grid
    that was interrupted too. Those of a sweep, which is of several experiments, come from its table
    as it was written last. The same folder gives the same bytes.

    Args:
        runs: a folder of runs, of one name, or of one experiment.
        out: file to write and return; by default ``report.html`` in ``runs``.
        say: told of every experiment when it is done.

    Raises:
        MissingDataError: if ``runs`` is no folder.
        DataError: if it holds no experiment, or ``out`` is a folder.
        OutputError: if ``out`` cannot be written.
    """
    runs = Path(runs)
    out = runs / "report.html" if out is None else Path(out)
    folders, other = experiment_folders(runs)
    # known before the figures are drawn
    if os.path.isdir(out):
        raise DataError("this is a folder; name a file, as in --out report.html", path=out)
    check_writable(out.parent)
    swept = sweep_tables(runs)
    entries = []
    for folder, title, build in _sections(runs, folders, swept):
        # Bytes of a name that are not UTF-8 could be written to no page and no terminal.
        name = _name(folder, runs).encode("utf-8", "replace").decode()
        try:
            entry = build(f"{name}{title}")
        except Exception as error:  # one odd folder must not cost the others their place
            logger.warning("%s cannot be shown: %s", folder, error)
            entry = of_nothing(f"{name}{title}", error)
        entries.append(entry)
        say(f"{name}: {entry.state}")
    remarks = [f"{_name(f, runs)}: holds no experiment" for f in other if f not in swept]
    with written_to(out.parent):
        write_atomic(out, page(f"Results in {runs.resolve().name}", entries, remarks))
    return out


def _sections(
    runs: Path, folders: Sequence[Path], swept: Mapping[Path, Sequence[Path]]
) -> Iterator[tuple[Path, str, Callable[[str], Entry]]]:
    """Yield every section: folder, words behind its name, and what builds it."""
    names: dict[Path, list[Path]] = {}
    for folder in folders:
        names.setdefault(folder if folder == runs else folder.parent, []).append(folder)
    # a name stands before what is in it: its sweeps sum its experiments up
    for name in sorted({*names, *swept}):
        if name in swept:
            yield name, ", sweeps", partial(of_sweeps, name, swept[name])
        if len(names.get(name, ())) > 1:
            yield name, ", settings that differ", partial(of_group, names[name])
        for folder in names.get(name, ()):
            yield folder, "", partial(of_folder, folder)


def _name(folder: Path, runs: Path) -> str:
    return runs.resolve().name if folder == runs else folder.relative_to(runs).as_posix()


def page(title: str, entries: Sequence[Entry], remarks: Sequence[str]) -> str:
    """Build the whole page; whatever is not markup of the template's is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    def clean(value: object) -> object:
        return value if isinstance(value, Markup) else without_controls(str(value))

    made = Environment(
        loader=FileSystemLoader(TEMPLATE.parent),
        autoescape=True,
        finalize=clean,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.globals["PAPER"] = PAPER
    made.filters["base64"] = lambda png: base64.b64encode(png).decode("ascii")
    return made.get_template(TEMPLATE.name).render(
        title=title, entries=entries, remarks=remarks, version=mkgc_cl.__version__
    )
