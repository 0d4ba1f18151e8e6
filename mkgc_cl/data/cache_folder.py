"""Where decoded images are kept: where the user says, in the home folder, or in a temporary one."""

from __future__ import annotations

import functools
import logging
import os
import stat
import tempfile
from pathlib import Path

from mkgc_cl.errors import DataError

logger = logging.getLogger(__name__)

ENVIRONMENT = "MKGC_CACHE"


def cache_folder() -> Path:
    """Return the folder of all caches: ``MKGC_CACHE``, else ``~/.cache/mkgc_cl``.

    Where there is no home (a user without an entry in passwd) or it cannot be written (a container,
    some clusters), it is a folder of this user's where the system keeps temporary files, and a
    warning says so.

    Raises:
        DataError: that folder is somebody else's, or there is none.
    """
    if given := os.environ.get(ENVIRONMENT):
        return Path(given)
    try:
        folder = Path.home() / ".cache" / "mkgc_cl"
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:  # a RuntimeError: there is no home
        return _temporary_folder(str(error))
    return folder


@functools.cache  # one warning per process
def _temporary_folder(reason: str) -> Path:
    user = os.getuid() if hasattr(os, "getuid") else "user"  # Windows has one such folder per user
    try:
        folder = Path(tempfile.gettempdir()) / f"mkgc_cl-{user}"
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise DataError(
            f"no folder for decoded images: the home folder cannot be used ({reason}), nor the one "
            f"for temporary files ({error}); set {ENVIRONMENT} to a folder of yours"
        ) from error
    # Everybody may make files there: others must not plant pixels.
    foreign = os.name == "posix" and (found.st_uid != user or found.st_mode & 0o022)
    if foreign or not stat.S_ISDIR(found.st_mode):
        raise DataError(
            f"expected a folder that only you may write; set {ENVIRONMENT} to a folder of yours",
            path=folder,
        )
    logger.warning(
        "the home folder cannot be used (%s); decoded images are kept in %s: set %s to choose",
        reason,
        folder,
        ENVIRONMENT,
    )
    return folder
