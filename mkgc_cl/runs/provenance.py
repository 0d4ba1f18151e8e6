"""What made a result: versions, machine, source state, memory. Imports none of what it reports."""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

logger = logging.getLogger(__name__)

PACKAGES = ("torch", "transformers", "timm", "avalanche-lib", "pytorch-crf", "numpy", "mkgc_cl")
"""Distributions whose versions can change a number."""


def environment() -> dict[str, object]:
    """Return versions, platform and source state, as plain JSON types.

    ``git`` is ``None`` where the package does not run from a checkout.
    """
    return {
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "git": git_state(Path(__file__).resolve().parent),
    }


def git_state(folder: Path) -> dict[str, object] | None:
    """Return ``{"commit", "dirty", "changes"}`` of the checkout of ``folder``, else ``None``.

    ``changes`` is a digest of what is not committed in tracked Python files but tests, ``None``
    without any.

    A package installed into an environment that happens to lie inside somebody's own repository is
    not from that repository, so an untracked ``folder`` counts as no checkout.
    """
    commit = _git(folder, "rev-parse", "HEAD")
    tracked = _git(folder, "ls-files", "--", ".")
    if not commit or not tracked:
        return None
    files = (":(top)*.py", ":(top,exclude)tests/")
    changes = _git(folder, "diff", "HEAD", "--no-ext-diff", "--", *files)
    return {
        "commit": commit,
        "dirty": bool(_git(folder, "status", "--porcelain", "-uno")),
        "changes": hashlib.sha256(changes.encode()).hexdigest()[:12] if changes else None,
    }


def reset_peak_memory() -> bool:
    """Start a new peak for :func:`peak_memory_mb`; False where the system keeps one per process."""
    try:
        # Linux: "5" sets the high-water mark back to what is resident now (man 5 proc).
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError as error:
        logger.debug("peak memory counts from the start of the process: %s", error)
        return False
    return True


def peak_memory_mb() -> float | None:
    """Return the peak resident memory in MB (10^6 bytes) since the last reset or the start.

    ``None`` where the system does not say. Memory of a GPU is not in it.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        kibibytes = next(
            int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")
        )
    except (OSError, StopIteration):
        return _peak_of_process_mb()
    return round(kibibytes * 1024 / 1e6, 1)


def _peak_of_process_mb() -> float | None:
    peak = None
    if sys.platform != "win32":
        import resource

        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        peak = round(own * (1 if sys.platform == "darwin" else 1024) / 1e6, 1)
    return peak


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603 - fixed program, arguments from this file
            ["git", "-C", str(folder), *arguments],  # noqa: S607 - git is wherever PATH has it
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        logger.debug("no git state: %s", error)
        return None
    return done.stdout.strip() if done.returncode == 0 else None
