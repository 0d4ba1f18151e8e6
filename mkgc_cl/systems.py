"""The systems of Tables 1 and 2, as data: names, sources, tasks, inputs.

What builds them is in ``mkgc_cl.strategies.catalogue``, which imports Avalanche; this does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mkgc_cl.data.samples import TaskKind

Row = Literal["IMRE", "IMNER"]


@dataclass(frozen=True, slots=True)
class SystemInfo:
    """One row of the tables.

    Args:
        name: its name in the tables and in every record.
        source: where the method comes from.
        image: whether it looks at the image.
        native: tasks it was made for.
        rows: tables in which it stands (Table 1: IMRE; Table 2: IMNER).
        memory: whether it keeps exemplars of earlier tasks.
    """

    name: str
    source: str
    image: bool
    native: tuple[TaskKind, ...]
    rows: tuple[Row, ...] = ("IMRE", "IMNER")
    memory: bool = False

    @property
    def tasks(self) -> tuple[TaskKind, ...]:
        """Tasks it runs on here: the ones it was made for and the ones it is ported to."""
        kinds: dict[Row, TaskKind] = {"IMRE": "re", "IMNER": "ner"}
        return tuple(kinds[row] for row in self.rows)

    @property
    def ports(self) -> tuple[TaskKind, ...]:
        """Tasks it is ported to: the paper gives a row, its authors gave no such version."""
        return tuple(kind for kind in self.tasks if kind not in self.native)


_BOTH: tuple[TaskKind, ...] = ("re", "ner")

SYSTEMS: dict[str, SystemInfo] = {
    info.name: info
    for info in (
        SystemInfo("Vanilla", "plain fine-tuning, lower bound", False, _BOTH),
        SystemInfo("EWC", "Kirkpatrick et al., PNAS 2017", False, _BOTH),
        SystemInfo("EMR", "Wang et al., NAACL 2019", False, ("re",), memory=True),
        SystemInfo("EMAR-BERT", "Han et al., ACL 2020", False, ("re",), memory=True),
        SystemInfo("RP-CRE", "Cui et al., ACL 2021", False, ("re",), ("IMRE",), memory=True),
        SystemInfo("ExtendNER", "Monaikul et al., AAAI 2021", False, ("ner",), ("IMNER",)),
        SystemInfo("Frozen + Gaussian", "Hayes and Kanan, CVPR-W 2020", False, _BOTH),
        SystemInfo("Task-1 + Gaussian", "Panos et al., ICCV 2023", False, _BOTH),
        SystemInfo("UMT", "Yu et al., ACL 2020", True, ("ner",)),
        SystemInfo("UMGF", "Zhang et al., AAAI 2021", True, ("ner",)),
        SystemInfo("MEGA", "Zheng et al., ACM MM 2021", True, ("re",)),
        SystemInfo("MKGformer", "Chen et al., SIGIR 2022", True, _BOTH),
        SystemInfo("M-[EWC]", "Chen et al., IJCAI 2024", True, _BOTH),
        SystemInfo("M-[R-Replay]", "Chen et al., IJCAI 2024", True, _BOTH, memory=True),
        SystemInfo("M-[R-Replay & EWC]", "Chen et al., IJCAI 2024", True, _BOTH, memory=True),
        SystemInfo("Joint Training", "all samples so far, upper bound", True, _BOTH),
        SystemInfo("MSPT", "Chen et al., IJCAI 2024", True, _BOTH, memory=True),
    )
}
"""Every system by name, in the order of the tables."""


UPPER_BOUNDS = ("Joint Training",)
"""Systems that see what no method may; the paper's tables do not mark them as best."""


def systems_of(kind: TaskKind) -> tuple[str, ...]:
    """Names of the systems that have a row for ``kind``, in the order of the tables.

    >>> "ExtendNER" in systems_of("re"), "RP-CRE" in systems_of("re")
    (False, True)
    """
    return tuple(name for name, info in SYSTEMS.items() if kind in info.tasks)
