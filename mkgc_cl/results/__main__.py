"""``mkgc report RUNS``: one page of all results, or what tells two of them apart."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mkgc_cl.errors import DataError, MkgcError
from mkgc_cl.results.lasting import lasting_output


def main(arguments: Sequence[str] | None = None, *, prog: str = "python -m mkgc_cl.results") -> int:
    """Run the command line, which begins with ``prog``; return the exit code."""
    parser = argparse.ArgumentParser(prog=prog, description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    report = commands.add_parser(
        "report",
        help="write one HTML page of every experiment in a folder of runs",
        description="Write one HTML page, which needs no other file, of every experiment in a "
        "folder of runs: tables, figures, settings, what made each run, what failed and why.",
        epilog="exit codes: 0 written; 2 there is nothing to report, or nowhere to write",
    )
    report.add_argument(
        "runs",
        nargs="?",
        default="runs",
        metavar="RUNS",
        help="folder that experiments write to, or one experiment's (default: runs)",
    )
    report.add_argument("--out", metavar="FILE", help="the page (default: RUNS/report.html)")
    report.add_argument(
        "--diff",
        nargs=2,
        metavar=("A", "B"),
        help="write no page; print the settings in which the runs of two folders differ",
    )
    options = parser.parse_args(arguments)
    with lasting_output():
        try:
            if options.diff:
                sys.stdout.write(_diff(*map(Path, options.diff)))
                return 0
            from mkgc_cl.results.report import write_html

            out = write_html(options.runs, options.out, say=lambda line: print(line, flush=True))
        except MkgcError as error:
            sys.stderr.write(f"{error}\n")
            return 2
        sys.stdout.write(f"written to {out}\n")
    return 0


def _diff(*folders: Path) -> str:
    """Say in which settings the runs of folders differ, a line each.

    Raises:
        DataError: a folder has no finished run.
    """
    from mkgc_cl.results.escapes import one_line
    from mkgc_cl.results.render import aligned
    from mkgc_cl.results.run_files import finished_records
    from mkgc_cl.results.settings import differences_of

    groups = [finished_records(folder) for folder in folders]
    for folder, records in zip(folders, groups, strict=True):
        if not records:
            raise DataError(
                "no finished run here; give the folder of one setting, which holds records/",
                path=folder,
            )
    found = differences_of(*groups)
    if not found:
        return "no setting differs\n"
    lines = [("setting", *(folder.name for folder in folders))]
    lines += [(key, *values) for key, values in found.items()]
    return "".join(f"{line}\n" for line in aligned([[*map(one_line, line)] for line in lines]))


if __name__ == "__main__":
    sys.exit(main())
