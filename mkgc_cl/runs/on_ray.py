"""The runs of a grid as tasks of a Ray cluster; claims, records and checkpoints stay the grid's."""

from __future__ import annotations

import logging
import platform
import secrets
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from mkgc_cl.cluster import enter_folder, ray_cluster
from mkgc_cl.errors import ConfigError, OutputError, WorkerError
from mkgc_cl.results.writing import written_to
from mkgc_cl.runs import Run
from mkgc_cl.runs.claims import forget_dead
from mkgc_cl.runs.grid import Attempt, Outcome
from mkgc_cl.runs.kept import paths_of
from mkgc_cl.runs.parallel import check_jobs, limit_threads, threads_each
from mkgc_cl.runs.provenance import environment

logger = logging.getLogger(__name__)

RETRIES = 3
"""How often a run is begun again whose worker died; it goes on from its checkpoint."""
_PATIENCE = 10.0
"""Seconds that cancelled runs have to end."""
_Said = list[tuple[str, int, str]]


class RayLaunch:
    """Makes runs on a Ray cluster, each in a task that is retried where its worker or node dies.

    Stands in for :func:`~mkgc_cl.runs.parallel.as_finished`; a context. The cluster is joined or
    started with the first run (:func:`~mkgc_cl.cluster.ray_cluster`). A run takes as many cores as
    one of ``jobs`` local runs would here, so that it sums in the same order and its record is that
    of a local run to the last digit, times apart. On a device of CUDA it takes a GPU.

    Every node must see the output and the working folder under the same path, and have the same
    packages and source: all nodes are asked before anything runs, and each again at every run.

    Args:
        jobs: share of this machine's cores that a run takes, see
            :func:`~mkgc_cl.runs.parallel.threads_each`.
        device: what runs compute on; ``"auto"`` takes a GPU where the cluster has any.

    Raises:
        ConfigError: ``jobs`` is below 1.
    """

    def __init__(self, *, jobs: int = 1, device: str = "cpu") -> None:
        check_jobs(jobs)
        self._jobs = jobs
        self._device = device
        self._token = secrets.token_hex(8)
        self._stack = ExitStack()
        self._ray: Any = None
        self._task: Any = None
        self._site: _Site | None = None
        self._begun: dict[str, tuple[Any, Attempt, Run]] = {}

    def __enter__(self) -> RayLaunch:
        return self

    def __exit__(self, *error: object) -> None:
        self._cancel(list(self._begun))
        self._stack.close()

    def ahead(self, attempt: Attempt, runs: Sequence[Run]) -> None:
        """Begin runs that are asked for later; those that are begun already go on.

        Raises:
            ConfigError: there is no cluster, or a node cannot make runs, see the class.
            OutputError: the output folder cannot be written to.
        """
        new = [run for run in runs if run.key not in self._begun]
        if not new:
            return
        attempt = replace(attempt, command=self._token)
        site = self._started(attempt.out)
        for run in new:
            self._begun[run.key] = (self._task.remote(attempt, run, site), attempt, run)

    def __call__(
        self, work: Attempt, items: Sequence[Run], *, jobs: int
    ) -> Generator[tuple[Run, Outcome | Exception], None, None]:
        """Yield every run as it is finished with what became of it, as ``as_finished`` does."""
        self.ahead(work, items)
        waiting = {self._begun[run.key][0]: run for run in items}
        try:
            while waiting:
                (ref, *_), _ = self._ray.wait(list(waiting), num_returns=1)
                result = self._result(ref)
                run = waiting.pop(ref)
                del self._begun[run.key]
                yield run, result
        finally:
            self._cancel([run.key for run in waiting.values()])

    def _started(self, out: Path) -> _Site:
        """Where runs happen; the cluster is joined, and its nodes asked, with the first."""
        if self._site is None:
            self._ray = self._stack.enter_context(ray_cluster())
            threads = threads_each(self._jobs)
            gpus = _gpus(self._device, self._ray.cluster_resources())
            site = _Site(Path.cwd(), f".ray-{self._token}", _source(), threads)
            self._mark(out / site.marker)
            self._check_nodes(site, out, gpus)
            task = self._ray.remote(num_cpus=threads, num_gpus=gpus, max_retries=RETRIES)
            self._site, self._task = site, task(_attempted)
        self._mark(out / self._site.marker)
        return self._site

    def _mark(self, marker: Path) -> None:
        """Leave a file by which a node knows the folder, for as long as this lasts."""
        if not marker.exists():
            with written_to(marker.parent):
                marker.parent.mkdir(parents=True, exist_ok=True)
                marker.touch()
            self._stack.callback(marker.unlink, missing_ok=True)

    def _check_nodes(self, site: _Site, out: Path, gpus: int) -> None:
        """Ask every node whether it can make runs.

        Raises:
            ConfigError: naming every one that cannot, or saying that none is large enough.
        """
        ray = self._ray
        needed = {"CPU": site.threads, "GPU": gpus}
        able = [
            node
            for node in ray.nodes()
            if node["Alive"] and all(node["Resources"].get(k, 0) >= n for k, n in needed.items())
        ]
        if not able:
            raise ConfigError(
                [
                    f"a run takes {site.threads} cores and {gpus} GPUs, and no node of the Ray "
                    "cluster has as many; give more --jobs, or set OMP_NUM_THREADS to the cores "
                    "of a run"
                ]
            )
        pinned = import_module("ray.util.scheduling_strategies").NodeAffinitySchedulingStrategy
        ask = ray.remote(num_cpus=0, max_retries=0)(_wrong_here)
        asked = [
            ask.options(scheduling_strategy=pinned(node["NodeID"], soft=False)).remote(site, out)
            for node in able
        ]
        wrong: list[str] = []
        for node, ref in zip(able, asked, strict=True):
            name = node["NodeManagerHostname"]
            try:
                wrong += ray.get(ref)
            except ray.exceptions.RayTaskError as error:
                reason = str(error).strip().rpartition("\n")[2]
                wrong.append(f"node {name} cannot run mkgc_cl ({reason}); install it there")
            except ray.exceptions.RayError as error:  # it died, and gets no runs
                logger.warning("node %s does not answer (%s)", name, type(error).__name__)
        if wrong:
            raise ConfigError(list(dict.fromkeys(wrong)))

    def _result(self, ref: Any) -> Outcome | Exception:
        """What became of a run; what its process warned of is said here."""
        try:
            made, said = self._ray.get(ref)
        except self._ray.exceptions.RayError as error:
            return WorkerError(_death(error))
        for name, level, text in said:
            logging.getLogger(name).log(level, "%s", text)
        result: Outcome | Exception = made
        return result

    def _cancel(self, keys: Sequence[str]) -> None:
        """End runs that are begun, and give up their claims."""
        runs = [self._begun.pop(key) for key in keys]
        if not runs:
            return
        refs = [ref for ref, _, _ in runs]
        with suppress(Exception):  # the cluster may be gone, and its processes with it
            for ref in self._ray.wait(refs, num_returns=len(refs), timeout=0)[0]:
                self._result(ref)  # it was finished before its turn: what it warned of is said
            for ref in refs:
                self._ray.cancel(ref, force=True)
            self._ray.wait(refs, num_returns=len(refs), timeout=_PATIENCE)
        for _, attempt, run in runs:
            forget_dead(paths_of(attempt.out, run)[0], self._token)


@dataclass(frozen=True)
class _Site:
    """What every node must share with the machine that gave the command.

    Args:
        folder: the working folder, which relative paths are of.
        marker: name of a file in the output folder.
        source: versions of Python and packages, and the state of the source.
        threads: cores of a run.
    """

    folder: Path
    marker: str
    source: Mapping[str, object]
    threads: int


def _attempted(attempt: Attempt, run: Run, site: _Site) -> tuple[Outcome | Exception, _Said]:
    """Make a run on a node; what became of it, and what was warned of meanwhile."""
    with _heard() as said:
        try:
            if wrong := _wrong_here(site, attempt.out):
                raise OutputError(f"run {run.name} was not made: {'; '.join(wrong)}")
            limit_threads(site.threads)
            made: Outcome | Exception = attempt(run)
        except Exception as error:
            made = error
    return made, said


def _wrong_here(site: _Site, out: Path) -> list[str]:
    """Say why this node cannot make runs; go to the working folder if it can."""
    node = f"node {platform.node()}"
    try:
        enter_folder(site.folder)
    except OutputError as error:
        return [str(error)]
    if not (out / site.marker).exists():
        return [
            f"{node} does not see the output folder {site.folder / out}; put it on a file system "
            "that all nodes share"
        ]
    here = _source()
    differ = [
        f"{name} is {here.get(name)} there and {wanted} where the command was given"
        for name, wanted in site.source.items()
        if here.get(name) != wanted
    ]
    return [f"{node}: {'; '.join(differ)}; use the same everywhere"] if differ else []


@cache
def _source() -> dict[str, object]:
    """What can change a number from one node to the next, as this process began."""
    found = environment()
    packages: Any = found["packages"]
    git: Any = found["git"] or {}
    source = {"commit": git.get("commit"), "uncommitted changes": git.get("changes")}
    return {"python": found["python"], **packages, **source}


@contextmanager
def _heard() -> Iterator[_Said]:
    """Gather warnings of this process."""
    said: _Said = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append((record.name, record.levelno, record.getMessage()))

    handler = Handler(logging.WARNING)
    ours = logging.getLogger("mkgc_cl")
    ours.addHandler(handler)
    try:
        yield said
    finally:
        ours.removeHandler(handler)


def _gpus(device: str, resources: Mapping[str, float]) -> int:
    """GPUs of a run."""
    if device.startswith("cuda:"):
        raise ConfigError(
            [f"'device' is {device}, and Ray gives every run a GPU of its own; give cuda, or auto"]
        )
    return int(device == "cuda" or (device == "auto" and resources.get("GPU", 0) >= 1))


def _death(error: Exception) -> str:
    """Say what ended a run's workers, and what to do."""
    memory = type(error).__name__ == "OutOfMemoryError"
    advice = "give fewer --jobs, so that a run takes more of a node" if memory else "see Ray's logs"
    return (
        f"its worker died, also when it was retried ({type(error).__name__}); {advice}; the same "
        "command runs it again"
    )
