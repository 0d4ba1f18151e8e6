"""Import the installed wheel from outside the checkout and look that nothing was left behind.

As it is imported on other systems: without the modules that only POSIX has; .ci/run takes the home
away too. Run in an empty folder, which has to stay empty.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import psutil  # noqa: F401  # its part for Linux needs one of the modules, those for others do not

POSIX = ("fcntl", "grp", "pwd", "resource", "termios")
TOPS = ("mkgc_cl", "strategies", "scenarios", "experiments")
"""Folders of the checkout that are installed, the first as itself and the others as parts of it."""


def installed_names(checkout: Path) -> list[str]:
    """Return the import name of every module on disk."""
    names = []
    for top in TOPS:
        prefix = top if top == "mkgc_cl" else f"mkgc_cl.{top}"
        for module in sorted((checkout / top).rglob("*.py")):
            parts = module.relative_to(checkout / top).with_suffix("").parts
            if parts[-1] == "__main__":
                continue
            names.append(".".join((prefix, *(part for part in parts if part != "__init__"))))
    return names


def main(checkout: Path) -> None:
    """Fail on the first module that does not come from this environment."""
    names = installed_names(checkout)
    for name in POSIX:
        sys.modules[name] = None  # type: ignore[assignment]  # importing it is an ImportError
    for name in names:
        file = Path(str(importlib.import_module(name).__file__))
        if not file.is_relative_to(sys.prefix):
            sys.exit(f"{name} came from {file}, expected a place under {sys.prefix}")
    importlib.import_module("mkgc_cl.runs.provenance").peak_memory_mb()
    if made := [path.name for path in Path.cwd().iterdir()]:
        sys.exit(f"importing made {made} in the current folder")  # Avalanche's is named ~
    package = Path(str(sys.modules["mkgc_cl"].__file__)).parent
    data = 0
    for top in TOPS:
        for path in (checkout / top).rglob("*"):
            if path.suffix not in {".typed", ".yaml", ".json"}:
                continue
            place = package if top == "mkgc_cl" else package / top
            if not (place / path.relative_to(checkout / top)).is_file():
                sys.exit(f"{path} is not in the wheel; see options.package_data in setup.cfg")
            data += 1
    sys.stdout.write(f"{len(names)} modules and {data} data files come from the wheel\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
