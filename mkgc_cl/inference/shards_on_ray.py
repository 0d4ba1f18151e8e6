"""Shards written by a Ray cluster: Ray Data holds a pool of extractors and hands shards to them."""

from __future__ import annotations

import logging
import platform
import secrets
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from mkgc_cl._files import PREFIX, SUFFIX
from mkgc_cl.cluster import enter_folder, ray_cluster
from mkgc_cl.errors import ConfigError, DataError, OutputError
from mkgc_cl.inference.extractor import Extractor
from mkgc_cl.inference.shards import Shards, Wrote

RETRIES = 3
"""How often a shard is begun again whose process died; Ray Data itself would never give it up."""


def write_on_ray(shards: Shards) -> Generator[Wrote, None, None]:
    """Write what is not finished on a cluster, see :func:`~mkgc_cl.cluster.ray_cluster`.

    As many extractors as the cluster has room for, each loaded once, write a shard at a time; the
    shard of one that dies is written by another. Every node must see input, extractor and output
    under the same paths.

    Args:
        shards: what is to be written.

    Raises:
        ConfigError: there is no cluster, no node has as many cores, or one has other packages or
            another extractor.
        OutputError: a shard cannot be written, or a node does not see the folders.
    """
    waiting, threads = shards.waiting, shards.job.threads
    if not waiting:
        return
    with ray_cluster() as ray:
        cores = [node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]]
        room = sum(int(each // threads) for each in cores)
        if not room:
            raise ConfigError(
                [f"no node of the Ray cluster has {threads} cores; give fewer --threads"]
            )
        data: Any = import_module("ray.data")
        context = data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        # a cluster without a free core is waited for: Ray gives up extractors that it cannot start
        context.max_consecutive_actor_init_deaths = -1
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)
        rows = data.from_items([{"shard": shard} for shard in waiting],
                               override_num_blocks=len(waiting))  # fmt: skip
        written = rows.map(
            ShardWriter,
            fn_constructor_args=(shards, Path.cwd(), secrets.token_hex(4)),
            num_cpus=threads,
            compute=data.ActorPoolStrategy(min_size=1, max_size=min(room, len(waiting))),
        )
        for row in _told(written.iter_rows(), ray.exceptions.RayError):
            if row["kind"] == "config":
                raise ConfigError([row["error"]])
            if row["kind"] == "output":
                raise OutputError(row["error"])
            yield Wrote(row["shard"], DataError(row["error"]) if row["kind"] else None)


def _told(rows: Iterable[dict[str, Any]], failure: type[Exception]) -> Iterator[dict[str, Any]]:
    """Say of what ends Ray's work what is lost: nothing that is finished."""
    try:
        yield from rows
    except failure as error:
        reason = str(error).strip().partition("\n")[0]
        raise OutputError(
            f"the Ray cluster stopped working ({type(error).__name__}: {reason}); finished parts "
            "are kept, and the same command writes the rest"
        ) from error


class ShardWriter:
    """An extractor on a node, which writes one shard after another.

    Args:
        shards: what is to be written.
        folder: the working folder, which relative paths are of.
        token: of the command, for the names of its files.
    """

    def __init__(self, shards: Shards, folder: Path, token: str) -> None:
        self._shards = shards
        self._folder = folder
        self._token = token
        self._extractor: Extractor | None = None

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Write a shard; say in plain types what kept it from that."""
        kind, error = "", ""
        try:
            extractor = self._loaded()
            with self._tried(row["shard"]):
                self._shards.write(row["shard"], extractor)
        except ConfigError as wrong:
            kind, error = "config", "; ".join(wrong.problems)
        except DataError as wrong:
            kind, error = "data", str(wrong)
        except (OutputError, OSError) as wrong:
            kind, error = "output", str(wrong)
        return {"shard": row["shard"], "kind": kind, "error": error}

    @contextmanager
    def _tried(self, shard: int) -> Iterator[None]:
        """Count how often a shard is begun, in a file that outlives this process.

        Raises:
            DataError: it was begun too often; a text in it may be what kills whoever reads it.
        """
        tries = self._shards.job.out / f"{PREFIX}{self._token}-{shard}{SUFFIX}"
        try:
            with tries.open("ab") as file:
                died = file.tell()
                file.write(b".")
            if died > RETRIES:
                raise DataError(
                    f"{self._shards.path(shard).name}: the process that wrote it died {died} "
                    "times; Ray's logs may say why (memory?); the same command tries again"
                )
            yield
        finally:
            tries.unlink(missing_ok=True)

    def _loaded(self) -> Extractor:
        """The extractor, loaded with the first shard, so that what is wrong with it is told."""
        if self._extractor is None:
            enter_folder(self._folder)
            try:
                self._extractor = self._shards.opened()
            except DataError as error:  # no fault of this shard: all would fail here
                raise ConfigError([f"on node {platform.node()}: {error}"]) from error
        return self._extractor
