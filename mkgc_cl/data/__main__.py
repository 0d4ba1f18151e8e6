"""``mkgc data check ROOT``: is this data folder, or the corpus of a YAML file, ready for use?"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from mkgc_cl.data.check import check_data
from mkgc_cl.data.files.check import check_files
from mkgc_cl.data.findings import Findings
from mkgc_cl.data.locate import ENVIRONMENT, data_root
from mkgc_cl.data.negative import NEGATIVE
from mkgc_cl.errors import MissingDataError

EPILOG = """exit codes: 0 ready to run; 1 some files are malformed; 2 nothing can be run"""


def main(arguments: Sequence[str] | None = None, *, prog: str = "python -m mkgc_cl.data") -> int:
    """Run the command line, which begins with ``prog``; return the exit code."""
    parser = argparse.ArgumentParser(prog=prog, description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser(
        "check",
        help="list what is present, missing and malformed, and what can be run",
        epilog=EPILOG,
    )
    check.add_argument(
        "root",
        nargs="?",
        metavar="ROOT",
        help=f"folder that holds MRE/ and MNER/ (default: ${ENVIRONMENT}), or a YAML file that "
        "describes a corpus of your own",
    )
    check.add_argument(
        "--crops", action="store_true", help="open the crop dictionaries too (needs torch: slower)"
    )
    check.add_argument(
        "--images",
        action="store_true",
        help="decode every image that is there (about 100 a second), to find the broken ones",
    )
    check.add_argument(
        "--negative",
        default=NEGATIVE,
        metavar="NAME",
        help=f"what the relation files call a pair without a relation (default: {NEGATIVE})",
    )
    check.add_argument(
        "--repair",
        choices=["conlleval"],
        default="",
        help="read tags of MNER/ that break their scheme as conlleval does (a YAML file says it)",
    )
    check.add_argument("--json", action="store_true", help="print one JSON object")
    check.add_argument(
        "--limit", type=int, default=20, metavar="N", help="list at most N problems (default: 20)"
    )
    options = parser.parse_args(arguments)
    if options.limit < 0:
        parser.error(f"--limit must be 0 or more, found {options.limit}")
    try:
        if str(options.root).lower().endswith((".yaml", ".yml")):
            found = check_files(Path(options.root), images=options.images)
        else:
            root = data_root(options.root)
            found = check_data(
                root,
                crops=options.crops,
                images=options.images,
                negative=options.negative,
                repair=options.repair,
            )
    except MissingDataError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    (_write_json if options.json else _write_text)(found, options.limit, sys.stdout)
    return found.exit_code


def _write_text(found: Findings, limit: int, out: TextIO) -> None:
    # Paths are bytes: what the terminal cannot show must not end the report of all the rest.
    encoding = out.encoding or "utf-8"

    def write(text: str) -> None:
        out.write(text.encode(encoding, "backslashreplace").decode(encoding))

    def section(title: str, lines: Sequence[str]) -> None:
        if lines:
            write(f"{title}\n" + "".join(f"  {line}\n" for line in lines))

    write(f"{found.root}\n")
    section("present", found.present)
    section("missing", [f"{path}: {remark}" for path, remark in found.missing])
    shown = [str(problem) for problem in found.problems[:limit]]
    if len(found.problems) > limit:
        shown.append(f"... and {len(found.problems) - limit:,} more (--limit N shows more)")
    section(f"malformed ({len(found.problems):,})", shown)
    if found.run:
        lines = [f"{code}  # {remark}" if remark else code for code, remark in found.run]
        names = ", ".join(sorted({code.partition("(")[0] for code, _ in found.run}))
        section("can be run", [f"from mkgc_cl.scenarios import {names}", *lines])
    else:
        write("nothing can be run with this\n")


def _write_json(found: Findings, limit: int, out: TextIO) -> None:
    json.dump(
        {
            "root": str(found.root),
            "present": found.present,
            "missing": [{"path": path, "remark": remark} for path, remark in found.missing],
            "problem_count": len(found.problems),
            "problems": [
                {"path": str(error.path), "line": error.line, "message": str(error)}
                for error in found.problems[:limit]
            ],
            "run": [{"code": code, "remark": remark} for code, remark in found.run],
            "exit_code": found.exit_code,
        },
        out,
        indent=2,
    )
    out.write("\n")


if __name__ == "__main__":
    sys.exit(main())
