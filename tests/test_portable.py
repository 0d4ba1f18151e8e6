"""Other users: no home, none that can be written, no entry in passwd.

That all modules are imported without a home and without those of POSIX, .ci/check_wheel.py tries.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# The one file of Avalanche that needs a home, without the seconds that the whole takes.
CONFIGURE = """
import importlib.util, os, sys
import pwd
def absent(_):
    raise KeyError("uid not found")
pwd.getpwuid = absent
file = sys.argv[1] + "/scenarios/avalanche_home.py"
spec = importlib.util.spec_from_file_location("avalanche_home", file)
spec.loader.exec_module(importlib.util.module_from_spec(spec))
assert "avalanche" not in sys.modules
from_avalanche = sys.modules["avalanche.benchmarks.datasets.dataset_utils"]
sys.stdout.write(f"{from_avalanche.default_dataset_location('mnist')} {os.environ.get('HOME')}")
"""


SOLVERS = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("home", sys.argv[1] + "/scenarios/avalanche_home.py")
spec.loader.exec_module(importlib.util.module_from_spec(spec))
import qpsolvers
"""


def run(code: str, *, home: Path | None, folder: Path) -> str:
    """Output of the code in an empty folder, with a home or none."""
    users = ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME", "MKGC_CACHE")
    environment = {name: value for name, value in os.environ.items() if name not in users}
    environment["MPLCONFIGDIR"] = str(folder / "matplotlib")  # it warns where it has no home
    if home is not None:
        environment["HOME"] = str(home)
    here = folder / "here"
    here.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", code, str(ROOT)],
        env=environment, cwd=here, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert list(here.iterdir()) == []  # Avalanche makes a folder that is named ~
    return done.stdout


@pytest.mark.skipif(os.name != "posix", reason="homes are found otherwise elsewhere")
@pytest.mark.parametrize(
    ("home", "config", "place"),
    [
        pytest.param(None, None, "~/.avalanche/data", id="no home"),
        # A file: of a folder without permissions, root would take no notice.
        pytest.param("file", None, "{home}/.avalanche/data", id="a home that cannot be written"),
        pytest.param("folder", None, "{home}/.avalanche/data", id="a new home"),
        pytest.param("folder", "", "{home}/.avalanche/data", id="another process begins to write"),
        pytest.param("folder", '{"dataset_location": "/mine"}', "/mine", id="the user's own"),
    ],
)
def test_avalanches_configuration_is_the_users_or_the_default(
    tmp_path: Path, home: str | None, config: str | None, place: str
) -> None:
    path = tmp_path / "home"
    made = path / ".avalanche" / "config.json"
    if home == "file":
        path.touch()
    if config is not None:
        made.parent.mkdir(parents=True)
        made.write_text(config)
    found = run(CONFIGURE, home=path if home else None, folder=tmp_path)
    after = path if home else None
    assert found == f"{place.format(home=path)}/mnist {after}"
    if config is not None:
        assert made.read_text() == config
    assert made.is_file() == (home == "folder")


@pytest.mark.slow
def test_what_avalanche_imports_warns_of_nothing(tmp_path: Path) -> None:
    """Of solvers that nothing here uses, before the first line of any run."""
    done = subprocess.run(
        [sys.executable, "-c", SOLVERS, str(ROOT)],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
