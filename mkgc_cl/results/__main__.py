"""``mkgc report RUNS``: one page of all results."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from mkgc_cl.errors import MkgcError
from mkgc_cl.results.lasting import lasting_output
from mkgc_cl.results.report import write_html

EPILOG = """exit codes: 0 written; 2 there is nothing to report, or nowhere to write"""


def main(arguments: Sequence[str] | None = None, *, prog: str = "python -m mkgc_cl.results") -> int:
    """Run the command line, which begins with ``prog``; return the exit code."""
    parser = argparse.ArgumentParser(prog=prog, description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    report = commands.add_parser(
        "report",
        help="write one HTML page of every experiment in a folder of runs",
        description="Write one HTML page, which needs no other file, of every experiment in a "
        "folder of runs: tables, figures, settings, what made each run, what failed and why.",
        epilog=EPILOG,
    )
    report.add_argument(
        "runs",
        nargs="?",
        default="runs",
        metavar="RUNS",
        help="folder that experiments write to, or one experiment's (default: runs)",
    )
    report.add_argument("--out", metavar="FILE", help="the page (default: RUNS/report.html)")
    options = parser.parse_args(arguments)
    with lasting_output():
        try:
            out = write_html(options.runs, options.out, say=lambda line: print(line, flush=True))
        except MkgcError as error:
            sys.stderr.write(f"{error}\n")
            return 2
        sys.stdout.write(f"written to {out}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
