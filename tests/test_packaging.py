"""What is installed is what stands on disk."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import yaml

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
        assert re.fullmatch(r"[A-Za-z0-9-]+(\[\w+\])? >=[\d.]+(, <[\d.]+)?", line), line


def test_version_is_one_of_semantic_versioning() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", mkgc_cl.__version__)


def test_hooks_and_workflow_call_what_ci_calls() -> None:
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8").replace('"$python"', ".venv/bin/python")
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    entries = [hook["entry"] for repo in hooks["repos"] for hook in repo["hooks"]]
    assert entries
    assert [entry for entry in entries if entry not in ci.splitlines()] == []
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    job, elsewhere = workflow["jobs"]["ci"], workflow["jobs"]["elsewhere"]
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    assert elsewhere["strategy"]["matrix"]["os"] == ["windows-latest", "macos-latest"]
    tried = [word for step in elsewhere["steps"] for word in step.get("run", "").split()]
    files = [word for word in tried if word.startswith(("tests/", ".ci/"))]
    assert files
    assert all((ROOT / file).exists() for file in files)
    minimum = read_setup()["options"]["python_requires"].removeprefix(">=")
    assert job["strategy"]["matrix"]["python"][0] == minimum


def test_the_citation_and_the_changelog_are_of_this_version() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["version"] == mkgc_cl.__version__
    versions = re.findall(r"^## \[(.+)\]", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.M)
    assert versions[:2] == ["Unreleased", mkgc_cl.__version__]


def test_the_image_runs_the_command_that_is_installed() -> None:
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    (entry,) = (line.partition(" ")[2] for line in lines if line.startswith("ENTRYPOINT"))
    (script,) = read_setup()["options.entry_points"]["console_scripts"].split("\n")[1:]
    assert yaml.safe_load(entry) == [script.partition(" ")[0]]
