"""Trains systems in one process, then in all that torchrun started, and tells how they differ.

    torchrun --standalone --nproc-per-node 2 tests/strategies/two_processes.py [FILE]

Without torchrun it starts two processes as that does, but after its imports, which take longer than
everything else: once instead of in every process.

Without dropout, which every process draws for samples of its own. In double precision, where
rounding is too small to be made large by training; what keeps prototypes is in single.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch.distributed as dist
from avalanche.core import SupervisedPlugin
from conftest import Kit
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from mkgc_cl.strategies import (
    AttentionDistillationPlugin,
    Checkpointing,
    EMARPlugin,
    EWCPlugin,
    GaussianReadoutPlugin,
    GradientModulationPlugin,
    MovedStatisticsPlugin,
    OwnClassesPlugin,
    PrototypeReplayPlugin,
    RPCREPlugin,
    SlowEncoderPlugin,
    TokenDistillationPlugin,
    continual_evaluator,
    run_stream,
)
from mkgc_cl.strategies.distributed import join

KIT = Kit()
SINGLE = {"kind": "sgd", "lr": 0.1}
"""Without AdamW, which turns a gradient that is rounding into a whole step."""


class Killed(BaseException):
    pass


def killer(step: int | None) -> SupervisedPlugin:
    """Ends a run in the middle of a step."""
    left = [step]

    class Killer(SupervisedPlugin, supports_distributed=True):
        def before_update(self, strategy: Any, **kwargs: Any) -> None:
            if left[0] is not None:
                left[0] -= 1
                if left[0] <= 0:
                    raise Killed

    return Killer()


@dataclass(frozen=True)
class Case:
    """A system on the tiny stream of one task."""

    kind: Any
    plugins: Callable[[], Sequence[Any]]
    text: bool = True
    double: bool = True
    batch: int = 4
    epochs: int = 1

    def strategy(self, *, killed: int | None = None, dropout: float = 0.0) -> Any:
        benchmark = KIT.benchmark(self.kind)
        build = KIT.text_model if self.text else KIT.model
        model = build(benchmark.labels, dropout=dropout)
        options: Any = {} if self.double else SINGLE
        return KIT.strategy(
            benchmark.labels,
            killer(killed),
            *self.plugins(),
            model=model.double() if self.double else model,
            evaluator=continual_evaluator(),
            epochs=self.epochs,
            batch=self.batch,
            **options,
        )

    def trained(
        self, folder: str | None = None, *, killed: int | None = None, dropout: float = 0.0
    ) -> dict[str, Any]:
        strategy = self.strategy(killed=killed, dropout=dropout)
        checkpoint = None if folder is None else Checkpointing(folder, steps=2)
        result = run_stream(strategy, KIT.benchmark(self.kind), checkpoint=checkpoint)
        weights = KIT.weights(strategy)
        return {"weights": weights, "matrix": result.matrix.to_dict(), "traces": result.traces}


def parts(schedule: Any) -> list[Any]:
    return [
        GradientModulationPlugin(alpha=0.3),
        AttentionDistillationPlugin(weight=1.0),
        PrototypeReplayPlugin(size=2, schedule=schedule),
    ]


def slow() -> list[Any]:
    readout = GaussianReadoutPlugin(trained_tasks=None)
    moved = MovedStatisticsPlugin(bandwidth=1.0)
    return [SlowEncoderPlugin(factor=0.5), OwnClassesPlugin(), moved, readout]


CASES = {
    # of 11 samples the last batch has 2, or 1: fewer than there are processes
    "MSPT": Case("re", lambda: parts("after"), text=False, batch=3),
    "MSPT, mixed": Case("ner", lambda: parts("mixed"), text=False, batch=2),
    "EMR": Case("re", lambda: [PrototypeReplayPlugin(size=3, schedule="round-robin")], batch=5),
    "ExtendNER": Case("ner", lambda: [TokenDistillationPlugin()], batch=3),
    "EMAR, EWC": Case("ner", lambda: [EWCPlugin(), EMARPlugin(size=2)], double=False),
    "RP-CRE": Case("re", lambda: [RPCREPlugin(size=2, memory_epochs=2)], double=False),
    "Frozen + Gaussian": Case("ner", lambda: [GaussianReadoutPlugin()]),
    "Slow + Gaussian": Case("re", slow, batch=3),
}
REPLAY = Case("re", lambda: [PrototypeReplayPlugin(size=2)], epochs=2)


def compared(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """How far two runs are apart."""
    series = [
        abs(a - b)
        for name, values in one["traces"].items()
        for a, b in zip(values, other["traces"][name], strict=True)
    ]
    return {
        "weights apart": max(
            float((value.double() - other["weights"][name].double()).abs().max())
            for name, value in one["weights"].items()
            if value.numel()
        ),
        "traces apart": max(series, default=0.0),
        "same matrix": one["matrix"] == other["matrix"],
    }


def main(file: str | None = None) -> None:
    # only the first process compares
    first = os.environ.get("RANK", "0") == "0"
    alone = {name: case.trained() for name, case in CASES.items() if first}
    replay = REPLAY.trained() if first else {}
    with tempfile.TemporaryDirectory() as place:
        written_alone = f"{place}/of-{id(place)}"
        with suppress(Killed):
            if first:
                REPLAY.trained(written_alone, killed=12)
        ranks, _ = join()
        folder = ranks.text_of_first(place)
        together = {name: case.trained() for name, case in CASES.items()}
        straight = REPLAY.trained(dropout=0.5)
        for steps in (5, 12):
            with suppress(Killed):
                REPLAY.trained(f"{folder}/two", killed=steps, dropout=0.5)
        resumed = REPLAY.trained(f"{folder}/two", dropout=0.5)
        more = REPLAY.trained(ranks.text_of_first(written_alone))
        with suppress(Killed):
            REPLAY.trained(f"{folder}/fewer", killed=12)
        ranks.wait()
        dist.destroy_process_group()
        if not ranks.first:
            return
        found = {name: compared(alone[name], run) for name, run in together.items()}
        found["resumed by two"] = compared(straight, resumed)
        found["of one, resumed by two"] = compared(replay, more)
        found["of two, resumed by one"] = compared(replay, REPLAY.trained(f"{folder}/fewer"))
    if file is not None:
        Path(file).write_text(json.dumps(found), encoding="utf-8")
    print(f"{'':24}{'weights apart':>15}{'traces apart':>15}  same matrix")
    for name, how in found.items():
        apart = f"{how['weights apart']:15.1e}{how['traces apart']:15.1e}"
        print(f"{name:24}{apart}  {'yes' if how['same matrix'] else 'no'}")


def start() -> None:
    """Fork two processes under torchrun's own agent."""
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=2,
        run_id="two-processes",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        start_method="fork",
        max_restarts=0,
    )
    elastic_launch(config, main)(*sys.argv[1:])


if __name__ == "__main__":
    if "RANK" in os.environ:
        main(*sys.argv[1:])
    else:
        start()
