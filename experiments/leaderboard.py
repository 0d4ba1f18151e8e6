"""The leaderboard of README.md: every system on both benchmarks, from finished runs.

    python experiments/leaderboard.py runs [FOLDER ...] > leaderboard.md

Reads every results.json below the folders; nothing is run. Only runs on test samples of the real
benchmarks count. Times are wall times of the machines that the records name.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from mkgc_cl.errors import DataError
from mkgc_cl.results.json_files import read_json
from mkgc_cl.results.leaderboard import leaderboard


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table.

    Returns:
        The exit code: 0 good, 2 there is nothing to show.
    """
    folders = list(sys.argv[1:] if argv is None else argv)
    if not folders or folders[0] in ("-h", "--help"):
        sys.stderr.write(str(__doc__))
        return 0 if folders else 2
    found = [path for folder in folders for path in sorted(Path(folder).rglob("results.json"))]
    records = []
    for path in found:
        try:
            data = read_json(path)
            records += data["records"]  # type: ignore[index]
        except (DataError, ValueError, KeyError, TypeError) as error:
            sys.stderr.write(f"{path} is left out: {error}\n")
    if not records:
        sys.stderr.write(f"no results.json with a finished run below {', '.join(folders)}\n")
        return 2
    sys.stdout.write(leaderboard(records))
    return 0


if __name__ == "__main__":
    sys.exit(main())
