"""What is installed is what stands on disk."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import mkgc_cl

ROOT = Path(__file__).parents[1]
# folder on disk -> import name
TOPS = {
    "mkgc_cl": "mkgc_cl",
    "strategies": "mkgc_cl.strategies",
    "scenarios": "mkgc_cl.scenarios",
    "experiments": "mkgc_cl.experiments",
}


def read_setup() -> configparser.ConfigParser:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    return setup


def test_every_package_on_disk_is_listed() -> None:
    found = set()
    for top, name in TOPS.items():
        for init in (ROOT / top).rglob("__init__.py"):
            found.add(".".join((name, *init.parent.relative_to(ROOT / top).parts)))
    listed = read_setup()["options"]["packages"].split()
    assert sorted(listed) == sorted(found)


def test_every_module_lies_in_a_package() -> None:
    # A folder without __init__.py works from the checkout and is missing from the wheel.
    for top in TOPS:
        for module in (ROOT / top).rglob("*.py"):
            assert (module.parent / "__init__.py").is_file(), module


def test_requirements_are_ranges_with_a_lower_bound() -> None:
    setup = read_setup()
    extras = [text for _, text in setup.items("options.extras_require")]
    lines = "\n".join([setup["options"]["install_requires"], *extras]).split("\n")
    for line in filter(None, (line.strip() for line in lines)):
        assert re.fullmatch(r"[A-Za-z0-9-]+ >=[\d.]+(, <[\d.]+)?", line), line


def test_version_is_one_of_semantic_versioning() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", mkgc_cl.__version__)
