"""One static page of everything under a folder of runs."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

from mkgc_cl.errors import DataError
from mkgc_cl.results import report_section, report_sweep
from mkgc_cl.results.counted import counted
from mkgc_cl.results.files import write_atomic
from mkgc_cl.results.markup import element
from mkgc_cl.results.report_folder import Experiment, experiment_folders, read_experiment
from mkgc_cl.results.report_page import Entry, anchor, page
from mkgc_cl.results.report_sweep import Sweeps, sweep_tables
from mkgc_cl.results.writing import check_writable, written_to

logger = logging.getLogger(__name__)


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
        out: file to write; by default ``report.html`` in ``runs``.
        say: told of every experiment when it is done.

    Returns:
        Path of the page.

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
    # a name stands before what is in it: its sweeps sum its experiments up
    for number, folder in enumerate(sorted([*swept, *folders])):
        name = folder.relative_to(runs).as_posix() if folder != runs else runs.resolve().name
        # Bytes of a name that are not UTF-8 could be written to no page and no terminal.
        name = name.encode("utf-8", "replace").decode()
        try:
            if folder in swept:
                sweeps = Sweeps(folder, f"{name}, sweeps", swept[folder])
                entry, state = _of_sweeps(sweeps, number), counted(len(swept[folder]), "sweep")
            else:
                experiment = read_experiment(folder, name)
                entry, state = _of_experiment(experiment, number), _state(experiment)
        except Exception as error:  # one odd folder must not cost the others their place
            logger.warning("%s cannot be shown: %s", folder, error)
            state = f"cannot be shown: {type(error).__name__}: {error}"
            entry = _of_nothing(name, state, number)
        entries.append(entry)
        say(f"{name}: {state}")
    other = [folder for folder in other if folder not in swept]
    remarks = [f"{folder.relative_to(runs).as_posix()}: holds no experiment" for folder in other]
    title = f"Results in {runs.resolve().name}"
    with written_to(out.parent):
        write_atomic(out, page(title, entries, remarks))
    return out


def _of_sweeps(sweeps: Sweeps, number: int) -> Entry:
    return Entry(
        sweeps.name,
        report_sweep.summary(sweeps),
        report_sweep.badges(sweeps),
        report_sweep.section(sweeps, anchor=anchor(number)),
    )


def _of_nothing(name: str, why: str, number: int) -> Entry:
    heading = element("h2", name, id=anchor(number))
    said = element("p", why, class_="problem")
    section = element("section", heading, said, aria_labelledby=anchor(number))
    return Entry(name, why, None, section)


def _of_experiment(experiment: Experiment, number: int) -> Entry:
    return Entry(
        experiment.name,
        report_section.summary(experiment),
        report_section.badges(experiment),
        report_section.section(experiment, anchor=anchor(number)),
    )


def _state(experiment: Experiment) -> str:
    left = [
        f"{len(found)} {word}"
        for found, word in ((experiment.failures, "failed"), (experiment.damaged, "damaged"))
        if found
    ]
    return ", ".join([f"{len(experiment.runs)} finished", *left])
