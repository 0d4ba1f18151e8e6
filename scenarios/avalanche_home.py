"""Makes Avalanche importable without a home folder that can be written, and without a warning.

While it is imported, Avalanche makes ``~/.avalanche/config.json``, which says where data sets that
nothing here uses are downloaded to; where it cannot (a read-only home, no home at all), or where
two processes do so at once, the import fails. Importing this module first loads the one file of
Avalanche that does so, with a home that is there for a moment only if it must be: nothing else of
Avalanche is imported here, and nobody else sees another home.

Avalanche imports qpsolvers, for GEM alone, which warns that none of its optional solvers is there.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
import tempfile
import warnings
from pathlib import Path
from types import ModuleType

from mkgc_cl._environ import environment_variables

_HOME = ("HOME", "USERPROFILE")
"""What ``~`` is; the second on Windows."""

logger = logging.getLogger(__name__)

_NAME = "avalanche.benchmarks.datasets.dataset_utils"


def load_data_set_utilities() -> None:
    """Load the file of Avalanche that reads and makes its configuration, if it is not loaded yet.

    Where the user's configuration can neither be read nor made, Avalanche has its default one.
    """
    if _NAME in sys.modules:
        return
    avalanche = importlib.util.find_spec("avalanche")
    folders = avalanche and avalanche.submodule_search_locations
    if not folders:
        return  # the import that follows says best that it is not installed
    file = Path(folders[0], "benchmarks", "datasets", "dataset_utils.py")
    try:
        if os.path.expanduser("~") == "~":  # Avalanche would make a folder of that name here
            raise FileNotFoundError("there is no home folder")
        module = _load(file)
    except (OSError, ValueError) as error:
        logger.info("Avalanche's configuration is the default one: %s", error)
        with (
            tempfile.TemporaryDirectory() as folder,
            environment_variables(dict.fromkeys(_HOME, folder)),
        ):
            module = _load(file)
        module.set_dataset_root(str(Path("~", ".avalanche", "data")))
    sys.modules[_NAME] = module


def _load(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(_NAME, file)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(f"{file} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


load_data_set_utilities()
warnings.filterwarnings("ignore", message="no QP solver found", category=UserWarning)
