"""Print a command or the Python example of README.md: CI runs what it says."""

from __future__ import annotations

import re
import sys
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def blocks(language: str) -> list[str]:
    """Return the fenced blocks of one language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", README.read_text("utf-8"), re.M | re.S)


def main(arguments: list[str]) -> str:
    """Return what ``command WORD`` or ``example`` asks for."""
    if arguments == ["example"]:
        found = ["".join(blocks("python")[:2])]  # a model is trained, then saved and loaded
    elif len(arguments) == 2 and arguments[0] == "command":
        lines = [line for block in blocks("bash") for line in block.splitlines()]
        found = [line for line in lines if arguments[1] in line][:1]
    else:
        return sys.exit("usage: readme.py example | command WORD")
    if not found:
        return sys.exit(f"README.md has no {' '.join(arguments)}")
    return found[0]


if __name__ == "__main__":
    sys.stdout.write(main(sys.argv[1:]))
