"""Fixtures and process settings every test shares."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

# Before anything imports torch. The models of the tests are so small that a second thread costs
# more than it brings, and one thread sums in the same order on every machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# A test that needs the network is wrong: fail at once rather than wait for a hub.
os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session", autouse=True)
def _private_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep every cache of the tests, and of the processes they start, out of the user's home."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MKGC_CACHE", str(tmp_path_factory.mktemp("mkgc-cache")))
        yield


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder with ``MRE/`` and ``MNER/``; the test is skipped where it is not to be had."""
    value = os.environ.get("MKGC_DATA")
    if not value:
        pytest.skip("MKGC_DATA is not set; see 'Data you must fetch yourself' in README.md")
    root = Path(value)
    if not root.is_dir():
        pytest.fail(f"MKGC_DATA is {value!r}, which is not a folder; correct it or unset it")
    return root
