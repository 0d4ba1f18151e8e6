"""The scripts under ``experiments/``, imported as Python finds them when they are run."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"


@pytest.fixture
def experiments(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the scripts, first on the import path."""
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    return EXPERIMENTS


@pytest.fixture
def ablation(experiments: Path) -> ModuleType:
    return importlib.import_module("ablation")


@pytest.fixture
def schema(experiments: Path) -> ModuleType:
    return importlib.import_module("experiment_settings")


@pytest.fixture
def report(experiments: Path) -> ModuleType:
    return importlib.import_module("experiment_report")
