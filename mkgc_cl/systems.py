"""Every system in one place: its name, source, tasks, inputs, and the recipe that builds it.

Imports no training code: a recipe is named here and imported when a system is built. Systems of
other packages join through the entry-point group :data:`GROUP`, those of a single file through
:func:`load_plugin` (``--plugin FILE`` on the command line).
"""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import logging
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from mkgc_cl.data.samples import TaskKind
from mkgc_cl.errors import ConfigError, DataError
from mkgc_cl.regular_file import read_regular

logger = logging.getLogger(__name__)

GROUP = "mkgc_cl.systems"
"""Entry points of installed packages: each names a :class:`SystemInfo`."""
LARGEST_PLUGIN = 2**20
"""Bytes of the file of a plugin."""

_BOTH: tuple[TaskKind, ...] = ("re", "ner")
_HERE = "mkgc_cl.strategies."


@dataclass(frozen=True)
class SystemInfo:
    """A system: a row of the tables, and what ``build_system`` builds.

    Args:
        name: its name in the tables, in every record and on the command line.
        source: where the method comes from.
        recipe: builds it: ``recipe(labels, encoders, training, *, own options)``, the function
            itself or ``"package.module:function"``, which is imported when it is needed.
        image: whether it looks at the image.
        tasks: tasks that it runs on here.
        native: tasks that it was made for; all of them by default. The others are ports.
        memory: whether it keeps exemplars of earlier tasks; it then has the options ``exemplars``
            and ``na_policy``.
        trains: the tasks in which gradients change it.
        notes: what a reader of a table should know.
        origin: the plugin or package that it comes from; empty for the systems of this package.
        options: its own defaults of some options, where they are not those of the recipe.
    """

    name: str
    source: str
    recipe: str | Callable[..., Any]
    image: bool = False
    tasks: tuple[TaskKind, ...] = _BOTH
    native: tuple[TaskKind, ...] = ()
    memory: bool = False
    trains: Literal["every task", "first task", "nothing"] = "every task"
    notes: str = ""
    origin: str = ""
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def ports(self) -> tuple[TaskKind, ...]:
        """Tasks it is ported to: the paper gives a row, its authors gave no such version."""
        return tuple(kind for kind in self.tasks if self.native and kind not in self.native)


SYSTEMS: dict[str, SystemInfo] = {}
"""Every system by name, in the order of the tables; those of others come last."""

UPPER_BOUNDS = ("Joint Training",)
"""Systems that see what no method may; the paper's tables do not mark them as best."""


def register(info: SystemInfo) -> SystemInfo:
    """Make a system known by its name.

    Raises:
        ConfigError: another system has that name, the command line could not read it, or the tasks
            are none of ``"re"`` and ``"ner"``.
    """
    if not info.name or info.name != info.name.strip() or {*",="} & {*info.name}:
        raise ConfigError(
            [
                f"a system cannot be called {info.name!r}: the command line separates names by "
                "commas and values by =; leave these out, and spaces at either end"
            ]
        )
    there = next((known for known in SYSTEMS if known.lower() == info.name.lower()), None)
    if there is not None:
        origin = SYSTEMS[there].origin
        whose = f" ({origin})" if origin else ""
        raise ConfigError(
            [f"there is a system {there!r} already{whose}; give {info.name!r} another name"]
        )
    if not info.tasks or not {*info.tasks, *info.native} <= {*_BOTH}:
        raise ConfigError(
            [
                f"system {info.name!r} has tasks={info.tasks!r}, native={info.native!r}; give "
                "tuples of 're' and 'ner'"
            ]
        )
    SYSTEMS[info.name] = info
    return info


for _info in (
    SystemInfo("Vanilla", "plain fine-tuning, lower bound", f"{_HERE}recipes_text:vanilla"),
    SystemInfo("EWC", "Kirkpatrick et al., PNAS 2017", f"{_HERE}recipes_text:ewc"),
    SystemInfo(
        "EMR",
        "Wang et al., NAACL 2019",
        f"{_HERE}recipes_text:emr",
        native=("re",),
        memory=True,
    ),
    SystemInfo(
        "EMAR-BERT",
        "Han et al., ACL 2020",
        f"{_HERE}recipes_text:emar_bert",
        native=("re",),
        memory=True,
    ),
    SystemInfo(
        "RP-CRE",
        "Cui et al., ACL 2021",
        f"{_HERE}recipes_text:rp_cre",
        tasks=("re",),
        memory=True,
    ),
    SystemInfo(
        "ExtendNER",
        "Monaikul et al., AAAI 2021",
        f"{_HERE}recipes_text:extend_ner",
        tasks=("ner",),
    ),
    SystemInfo(
        "Frozen + Gaussian",
        "Hayes and Kanan, CVPR-W 2020",
        f"{_HERE}recipes_closed_form:frozen_gaussian",
        trains="nothing",
    ),
    SystemInfo(
        "Task-1 + Gaussian",
        "Panos et al., ICCV 2023",
        f"{_HERE}recipes_closed_form:task_one_gaussian",
        trains="first task",
    ),
    SystemInfo(
        "Slow + Gaussian", "Yu et al., CVPR 2020", f"{_HERE}recipes_closed_form:slow_gaussian"
    ),
    SystemInfo(
        "EMR + Gaussian",
        "Wang et al., NAACL 2019",
        f"{_HERE}recipes_text:emr",
        tasks=("re",),
        memory=True,
        options={"branch": 0.5},
    ),
    SystemInfo(
        "ExtendNER + Gaussian",
        "Monaikul et al., AAAI 2021",
        f"{_HERE}recipes_text:extend_ner",
        tasks=("ner",),
        options={"branch": 0.5},
    ),
    SystemInfo(
        "UMT",
        "Yu et al., ACL 2020",
        f"{_HERE}recipes_multimodal:umt",
        image=True,
        native=("ner",),
    ),
    SystemInfo(
        "UMGF",
        "Zhang et al., AAAI 2021",
        f"{_HERE}recipes_multimodal:umgf",
        image=True,
        native=("ner",),
    ),
    SystemInfo(
        "MEGA",
        "Zheng et al., ACM MM 2021",
        f"{_HERE}recipes_multimodal:mega",
        image=True,
        native=("re",),
        notes="wants alignments=semantic: the data hold no parses and scene graphs",
    ),
    SystemInfo(
        "MKGformer",
        "Chen et al., SIGIR 2022",
        f"{_HERE}recipes_multimodal:mkgformer",
        image=True,
    ),
    SystemInfo(
        "M-[EWC]",
        "Chen et al., IJCAI 2024",
        f"{_HERE}recipes_multimodal:m_ewc",
        image=True,
    ),
    SystemInfo(
        "M-[R-Replay]",
        "Chen et al., IJCAI 2024",
        f"{_HERE}recipes_multimodal:m_replay",
        image=True,
        memory=True,
    ),
    SystemInfo(
        "M-[R-Replay & EWC]",
        "Chen et al., IJCAI 2024",
        f"{_HERE}recipes_multimodal:m_replay_ewc",
        image=True,
        memory=True,
    ),
    SystemInfo(
        "Joint Training",
        "all samples so far, upper bound",
        f"{_HERE}recipes_multimodal:joint_training",
        image=True,
    ),
    SystemInfo(
        "MSPT",
        "Chen et al., IJCAI 2024",
        f"{_HERE}recipe_mspt:mspt_recipe",
        image=True,
        memory=True,
    ),
):
    register(_info)

_OURS = frozenset(SYSTEMS)


def systems_of(kind: TaskKind) -> tuple[str, ...]:
    """Names of the systems that have a row for ``kind``, in the order of the tables.

    >>> "ExtendNER" in systems_of("re"), "RP-CRE" in systems_of("re")
    (False, True)
    """
    return tuple(name for name, info in SYSTEMS.items() if kind in info.tasks)


def named(name: str, known: Iterable[str], what: str) -> str:
    """Return the one of ``known`` that ``name`` names, whatever its case.

    >>> named("mspt", SYSTEMS, "'systems' names no system")
    'MSPT'

    Args:
        name: as somebody wrote it.
        known: the names there are.
        what: begins the message.

    Raises:
        ConfigError: there is none, with the nearest.
    """
    names = {each.lower(): each for each in known}
    if (found := names.get(name.lower().strip())) is not None:
        return found
    near = difflib.get_close_matches(name.lower(), names, n=1)
    hint = f"did you mean {names[near[0]]!r}? " if near else ""
    raise ConfigError([f"{what} {name!r}; {hint}there are {', '.join(names.values()) or 'none'}"])


def load_plugin(path: str | Path) -> str:
    """Run the Python file of a plugin, which registers its systems; once, however often asked for.

    It is a program of the user's own, run with the user's rights.

    Returns:
        Its name and the sha256 of the file, the ``origin`` of its systems.

    Raises:
        ConfigError: it cannot be read or run, or registers no system.
    """
    return _load_plugin(Path(path).resolve(), str(path))


@lru_cache
def _load_plugin(path: Path, given: str) -> str:
    try:
        data = read_regular(path, limit=LARGEST_PLUGIN)
    except DataError as error:
        raise ConfigError([f"--plugin: {error}"]) from error
    digest = hashlib.sha256(data).hexdigest()
    spec = importlib.util.spec_from_file_location(f"mkgc_plugin_{digest[:16]}", path)
    if spec is None or spec.loader is None:
        raise ConfigError([f"--plugin {given}: expected a Python file, named FILE.py"])
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses and pickle look for what it defines
    before = dict(SYSTEMS)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        _restore(before)  # nothing of a plugin that did not come to its end
        said = getattr(error, "problems", None) or [f"{type(error).__name__}: {error}"]
        raise ConfigError([f"--plugin {given}: {problem}" for problem in said]) from error
    if not SYSTEMS.keys() - before.keys():
        raise ConfigError(
            [f"--plugin {given}: it registers no system; call mkgc_cl.systems.register(...) in it"]
        )
    origin = f"{path.name} sha256 {digest}"
    _came_from(origin, before)
    return origin


def _restore(before: Mapping[str, SystemInfo]) -> None:
    SYSTEMS.clear()
    SYSTEMS.update(before)


def _came_from(origin: str, before: Mapping[str, SystemInfo]) -> None:
    """Say of the systems that are new since ``before`` where they come from."""
    for name, info in SYSTEMS.items():
        if name not in before:
            SYSTEMS[name] = replace(info, origin=origin)


@lru_cache
def load_installed() -> None:
    """Register the systems of installed packages; one that cannot be loaded is told, and left."""
    for point in metadata.entry_points(group=GROUP):
        package = point.dist
        origin = f"{package.name} {package.version}" if package is not None else point.value
        before = dict(SYSTEMS)
        try:
            info = point.load()
            if not isinstance(info, SystemInfo):
                raise TypeError(f"{point.value} is {type(info).__name__}, expected a SystemInfo")
            mine = replace(info, origin=origin)
            if info.name not in _OURS and SYSTEMS.get(info.name) in (info, mine):
                SYSTEMS[info.name] = mine  # its module registers it, as the file of a plugin does
            else:
                register(mine)
        except Exception as error:  # one package's fault must not keep the others from running
            _restore(before)
            logger.warning("the system %r of %s is left out: %s", point.name, origin, error)
        _came_from(origin, before)


def origins(names: Iterable[str]) -> Mapping[str, str]:
    """Return which plugin or package systems come from, of those that are not of this package."""
    return {name: SYSTEMS[name].origin for name in names if SYSTEMS[name].origin}
