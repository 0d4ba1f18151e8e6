"""A Ray cluster, joined or started. Ray is an extra, and imported here alone, when it is used."""

from __future__ import annotations

import logging
import os
import platform
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, get_args

from mkgc_cl._cores import usable_cores
from mkgc_cl.errors import ConfigError, OutputError

logger = logging.getLogger(__name__)

Launcher = Literal["local", "ray"]
LAUNCHERS: tuple[Launcher, ...] = get_args(Launcher)
LAUNCHER_HELP = (
    "local: processes of this machine; ray: a Ray cluster, the one at\n"
    "RAY_ADDRESS (auto: that of this machine), or one that starts here"
)
OBJECT_STORE = 2**28
"""Bytes of shared memory of a cluster that is started here: results are small."""
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nobody is told what runs here
    "RAY_worker_niceness": "0",  # Ray's 15 starves a run beside any other program
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # a run without a GPU sees what it saw
}


def launcher_problems(launcher: str) -> list[str]:
    """Say what keeps a launcher from being used here, before anything slow begins."""
    if launcher == "ray" and find_spec("ray") is None:
        return ["--launcher ray needs Ray, which is not installed: pip install 'mkgc_cl[ray]'"]
    return []


@contextmanager
def ray_cluster() -> Iterator[Any]:
    """Join the Ray cluster that ``RAY_ADDRESS`` names, or start one on this machine.

    ``RAY_ADDRESS=auto`` joins the cluster that runs on this machine. A cluster that is started here
    has the cores that this process may use, sends no usage statistics and ends with the block. In
    a program that is connected to a cluster already, that one is used and stays connected.

    Yields:
        The module ``ray``.

    Raises:
        ConfigError: Ray is not installed, or there is no cluster to join.
    """
    if wrong := launcher_problems("ray"):
        raise ConfigError(wrong)
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # what fails is told by whoever asked
    ray: Any = import_module("ray")
    if ray.is_initialized():
        yield ray
        return
    _hush()
    address = os.environ.get("RAY_ADDRESS", "").strip() or "local"
    own: dict[str, Any] = {}
    if address == "local":
        for name, value in _QUIET.items():
            os.environ.setdefault(name, value)
        own = {
            "num_cpus": usable_cores(),
            "object_store_memory": OBJECT_STORE,
            "include_dashboard": False,
        }
    with _own_signals(), _muted():
        try:
            _probe(address)
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **own)
        except (OSError, RuntimeError, ValueError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise ConfigError(
                [
                    f"RAY_ADDRESS={address}: no cluster can be joined ({reason}); start one (ray "
                    "start --head), correct the address, or unset it to start one here"
                ]
            ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def enter_folder(folder: Path) -> None:
    """Go to the working folder of the command, on whatever node; relative paths are of it.

    Raises:
        OutputError: this node does not have it.
    """
    try:
        os.chdir(folder)
    except OSError as error:
        raise OutputError(
            f"node {platform.node()} has no folder {folder} ({error.strerror}), where the command "
            "was given; mount it there under the same path"
        ) from error


def _probe(address: str) -> None:
    """Raise an ``OSError`` where nobody listens at HOST:PORT, which Ray waits minutes for."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal() and "://" not in address:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()


def _hush() -> None:
    """Keep what Ray says of a node that died, by the page, out of our standard output.

    No setting does; Ray's own logs have it.
    """
    worker: Any = import_module("ray._private.worker")
    if hasattr(worker, "print_to_stdstream"):
        worker.print_to_stdstream = lambda data, **_: logger.debug("Ray: %s", data)


@contextmanager
def _muted() -> Iterator[None]:
    """Keep what Ray's C++ parts say as they start out of standard error; errors are raised."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep what this program does at TERM, which Ray replaces by an exit without a word."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
