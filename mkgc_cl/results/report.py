"""One static page of everything under a folder of runs."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from mkgc_cl.errors import DataError
from mkgc_cl.results.files import write_atomic
from mkgc_cl.results.report_folder import experiment_folders, read_experiment
from mkgc_cl.results.report_page import anchor, page
from mkgc_cl.results.report_section import section

logger = logging.getLogger(__name__)


def write_html(
    runs: str | Path,
    out: str | Path | None = None,
    *,
    say: Callable[[str], object] = logger.info,
) -> Path:
    """Write a self-contained HTML page of every experiment under ``runs``.

    Numbers and figures come from the records of finished cells, so that the page is true of a grid
    that was interrupted too. The same folder gives the same bytes.

    Args:
        runs: a folder of runs, of one name, or of one experiment.
        out: file to write; by default ``report.html`` in ``runs``.
        say: told of every experiment when it is done.

    Returns:
        Path of the page.

    Raises:
        MissingDataError: if ``runs`` is no folder.
        DataError: if it holds no experiment, or ``out`` cannot be written.
    """
    runs = Path(runs)
    out = runs / "report.html" if out is None else Path(out)
    folders, other = experiment_folders(runs)
    if out.is_dir():  # known before the figures are drawn
        raise DataError("this is a folder; name a file, as in --out report.html", path=out)
    experiments, sections = [], []
    for number, folder in enumerate(folders):
        name = folder.relative_to(runs).as_posix() if folder != runs else runs.resolve().name
        # Bytes of a name that are not UTF-8 could be written to no page and no terminal.
        experiment = read_experiment(folder, name.encode("utf-8", "replace").decode())
        experiments.append(experiment)
        sections.append(section(experiment, anchor=anchor(number)))
        left = [
            f"{len(found)} {word}"
            for found, word in ((experiment.failures, "failed"), (experiment.damaged, "damaged"))
            if found
        ]
        say(f"{experiment.name}: " + ", ".join([f"{len(experiment.cells)} finished", *left]))
    remarks = [f"{folder.relative_to(runs).as_posix()}: holds no experiment" for folder in other]
    title = f"Results in {runs.resolve().name}"
    try:
        write_atomic(out, page(title, experiments, sections, remarks))
    except OSError as error:
        raise DataError(f"cannot be written ({error.strerror}); choose --out", path=out) from error
    return out
