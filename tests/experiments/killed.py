"""Runs scripts in processes that are killed at a point that is asked for; a driver for tests.

One process imports everything, then forks a child for every attempt: a child is killed as any
process is, and costs no import. Called as ``killed.py CASES``, as JSON: of each a folder, the
points at which it is killed, one after the other, and the script's name and arguments; prints a
line of JSON with what became of each.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

warnings.filterwarnings("ignore")

# imported once, for all children
import sklearn.cluster  # noqa: E402, F401
import timm  # noqa: E402, F401
from avalanche.core import SupervisedPlugin  # noqa: E402, F401
from transformers.models.bert import modeling_bert  # noqa: E402, F401

from mkgc_cl import _files  # noqa: E402
from mkgc_cl.experiments import imner, imre  # noqa: E402
from mkgc_cl.experiments.pipeline import cli, report, run  # noqa: E402
from mkgc_cl.inference import folders  # noqa: E402
from mkgc_cl.results import about  # noqa: E402
from mkgc_cl.runs import kept  # noqa: E402
from mkgc_cl.strategies import catalogue, recipe, template  # noqa: E402, F401

Point = tuple[str, int]


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def nth(number: int, act: Callable[..., Any], *, after: bool = False, half: bool = False) -> Any:
    """``act``, but killed in its n-th call: before it, after it, or when half is written."""
    left = [number]

    def counted(*given: Any, **named: Any) -> Any:
        left[0] -= 1
        if left[0]:
            return act(*given, **named)
        if half:
            path, data = Path(given[0]), given[1]
            data = data.encode() if isinstance(data, str) else bytes(data)
            with path.with_name(f"{_files.PREFIX}killed{_files.SUFFIX}").open("wb") as file:
                file.write(data[: len(data) // 2])
        elif after:
            act(*given, **named)
        return kill()

    return counted


def arm(point: Point) -> None:
    """Let this process be killed at a point."""
    what, number = point
    strategy = template.MultimodalStrategy
    from mkgc_cl.checkpoints import folder

    owner, name, how = {
        "step": (strategy, "backward", {}),
        "evaluation": (strategy, "_before_eval_exp", {}),
        "between tasks": (strategy, "_after_training", {"after": True}),
        "file": (folders, "write_atomic", {"half": True}),
        "description": (folder, "write_atomic", {"half": True}),
        "after a description": (folder, "write_atomic", {"after": True}),
        "history": (kept, "write_atomic", {"after": True}),
        "record": (kept, "remove_checkpoints", {}),
        "report": (run, "written_to", {}),
        "table": (about, "write_atomic", {"half": True}),
    }[what]
    setattr(owner, name, nth(number, getattr(owner, name), **how))


def attempt(argv: list[str], out: Path, point: Point | None) -> str:
    """Run a script in a process of its own; how it ended."""
    child = os.fork()
    if child == 0:
        log = os.open(out.with_suffix(".log"), os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        os.dup2(log, 1)
        os.dup2(log, 2)
        if point is not None:
            arm(point)
        script = {"imre": imre, "imner": imner}[argv[0]].SCRIPT
        os._exit(cli.main(script, [*argv[1:], "--out", str(out), "--quiet"]))
    _, status = os.waitpid(child, 0)
    return "killed" if os.WIFSIGNALED(status) else f"code {os.waitstatus_to_exitcode(status)}"


def result(out: Path) -> dict[str, str]:
    """Everything that runs left but when and how long they ran."""
    found = {}
    for path in sorted(out.rglob("*.json")):
        if (
            path.name == "results.json"
            or path.name.startswith("table-")
            or path.parent.name == "records"
        ):
            text = path.read_text(encoding="utf-8")
            text = re.sub(r'"(seconds|peak_memory_mb|digest)": [^,\n]+', r'"\1": 0', text)
            found[str(path.relative_to(out))] = text
    return found


def compared(folder: Path, points: list[Point], argv: list[str]) -> dict[str, object]:
    """Compare a run that is killed again and again with one that is not."""
    straight, killed = folder / "straight", folder / "killed"
    ends = {
        "straight": attempt(argv, straight, None),
        "points": [attempt(argv, killed, point) for point in points],
        "last": attempt(argv, killed, None),
    }
    wanted = result(straight)
    return {
        **ends,
        "files": len(wanted),
        "same": result(killed) == wanted,
        "left": [str(path) for path in folder.rglob("checkpoints")],
    }


def main() -> int:
    """Compare every case."""
    made_by = run.environment()  # whoever edits a file meanwhile changes nothing
    run.environment = lambda: made_by
    for owner, name in ((about, "draw_matrix"), (about, "draw_curves"), (report, "draw_gamma")):
        setattr(owner, name, lambda *_, **__: None)  # seconds, for what is not compared
    for folder, points, argv in json.loads(sys.argv[1]):
        Path(folder).mkdir()
        print(json.dumps(compared(Path(folder), points, argv)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
