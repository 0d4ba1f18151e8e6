"""The systems that are measured: a bare PyTorch loop, plain fine-tuning, and MSPT."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import torch
from torch.utils.data import DataLoader

from mkgc_cl.data.batch import MultimodalBatch
from mkgc_cl.data.samples import Sample
from mkgc_cl.experiments.pipeline.plan import Row
from mkgc_cl.experiments.pipeline.runner import build_row
from mkgc_cl.experiments.pipeline.settings import Settings
from mkgc_cl.experiments.speed.clock import Meter, Step, TaskRun, reader
from mkgc_cl.models import ExtractionModel
from mkgc_cl.scenarios import KnowledgeBenchmark
from mkgc_cl.seeds import generator
from mkgc_cl.strategies import MultimodalStrategy
from mkgc_cl.strategies.loading import TrainingBatches
from mkgc_cl.strategies.recipe import Training, assemble

BARE, FINE_TUNING, MSPT = "bare loop", "fine-tuning", "MSPT"
SEED = 0
"""Of loaders and dropout, the same in every system."""


@dataclass(frozen=True)
class Bench:
    """What every system gets.

    Args:
        settings: of the experiment.
        benchmark: the stream.
        model: a fresh model, copied for the bare loop and for fine-tuning in every round.
        device: where to train.
    """

    settings: Settings
    benchmark: KnowledgeBenchmark
    model: ExtractionModel
    device: torch.device

    @property
    def tasks(self) -> int:
        """Number of tasks."""
        return len(self.benchmark.train_stream)

    @property
    def options(self) -> Mapping[str, Any]:
        """Options of MSPT."""
        return (self.settings.options or {}).get(MSPT, {})

    def fine_tuning(self) -> MultimodalStrategy:
        """The template without any plugin, on a copy of the model, with MSPT's learning rates."""
        training = asdict(self.settings.training)
        return assemble(
            copy.deepcopy(self.model),
            Training(**training, device=str(self.device), seed=SEED),
            key_lr=self.options.get("key_lr"),
            bias_lr=self.options.get("bias_lr"),
        )

    def whole_method(self) -> MultimodalStrategy:
        """MSPT with its three plugins."""
        labels, device = self.model.labels, str(self.device)
        strategy = build_row(Row(MSPT), self.options, labels, self.settings, device, seed=SEED)
        return cast(MultimodalStrategy, strategy)


class Measured:
    """A strategy of the library under a meter.

    Args:
        benchmark: the stream.
        strategy: the strategy, fresh.
    """

    def __init__(self, benchmark: KnowledgeBenchmark, strategy: MultimodalStrategy) -> None:
        self.model = strategy.network
        self._benchmark = benchmark
        self._strategy = strategy
        self._meter = Meter(strategy)

    def train_task(self, index: int) -> TaskRun:
        """Train on task ``index``."""
        self._meter.start()
        self._strategy.train(self._benchmark.train_stream[index])
        return self._meter.finish()

    def run_task(self, index: int) -> TaskRun:
        """Train on task ``index`` and evaluate every task seen, as ``run_stream`` does."""
        run, seen = self.train_task(index), self._benchmark.test_stream[: index + 1]
        before = self._meter.read()
        self._strategy.eval(seen)
        run.evaluation = self._meter.read().since(before).wall
        return run


class BareLoop:
    """Train the same model on the same batches as the template does, in plain PyTorch.

    Samples are collated as they come, by a ``DataLoader``; dropout draws what it draws under the
    template, so both end with the same weights, bit for bit.

    Args:
        bench: the common part.
        buckets: length buckets, as the template has them.
        shared_images: encode an image that several samples of a batch show once, as the template
            does.
        fused: AdamW's fused step, as the library has it, instead of ``foreach``.
    """

    def __init__(
        self,
        bench: Bench,
        *,
        buckets: bool = True,
        shared_images: bool = True,
        fused: bool = True,
    ) -> None:
        template = bench.fine_tuning()  # for its model and optimizer; it never trains
        self.model = template.network.to(bench.device)
        self._optimizer = template.optimizer
        self._bench = bench
        self._buckets = buckets
        self._shared_images = shared_images
        self._read = reader(bench.device)
        self._loaders = generator(SEED, "loader-workers")
        if not fused:
            for group in self._optimizer.param_groups:
                group.update(fused=None, foreach=True)

    def train_task(self, index: int) -> TaskRun:
        """Train on task ``index``."""
        bench, run = self._bench, TaskRun()
        cuda = [bench.device] if bench.device.type == "cuda" else []
        with torch.random.fork_rng(devices=cuda):
            torch.set_rng_state(generator(SEED, f"dropout/{index}").get_state())
            started = self._read()
            experience = bench.benchmark.train_stream[index]
            self.model.observe(experience.classes)
            self.model.train()
            loader = self._loader(experience.samples, index)
            for epoch in range(bench.settings.training.epochs):
                self._train_epoch(loader, run, epoch)
            run.training = self._read().since(started)
        return run

    run_task = train_task  # nothing is evaluated

    def _train_epoch(self, loader: DataLoader[Any], run: TaskRun, epoch: int) -> None:
        device = self._bench.device
        precision = self._bench.settings.training.precision
        begun = self._read()
        for batch, targets in loader:
            batch, targets = batch.to(device, non_blocking=True), targets.to(device)
            if not self._shared_images:
                batch = one_image_each(batch)
            self._optimizer.zero_grad()
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
                output = self.model(batch)
            self.model.loss(output, targets).backward()
            self._optimizer.step()
            ended = self._read()
            run.steps.append(Step.on(batch, ended.since(begun), epoch=epoch))
            begun = self._read()

    def _loader(self, samples: Sequence[Sample], task: int) -> DataLoader[Any]:
        processor = self.model.processor
        processor.prepare(samples)
        batches = TrainingBatches(
            [processor.length(sample) for sample in samples],
            batch_size=self._bench.settings.training.batch_size,
            source=generator(SEED, f"order/{task}"),
            buckets=self._buckets,
        )
        return DataLoader(
            samples,  # type: ignore[arg-type]
            batch_sampler=batches,
            collate_fn=processor.collate,
            generator=self._loaders,
            pin_memory=self._bench.device.type == "cuda",
        )


System = BareLoop | Measured


def systems(bench: Bench) -> dict[str, Callable[[], System]]:
    """Makers of the measured systems by name, in the order of the report."""
    return {
        BARE: lambda: BareLoop(bench),
        FINE_TUNING: lambda: Measured(bench.benchmark, bench.fine_tuning()),
        MSPT: lambda: Measured(bench.benchmark, bench.whole_method()),
    }


def one_image_each(batch: MultimodalBatch) -> MultimodalBatch:
    """Give every sample an image of its own, as a loader would that knows no shared images."""
    index = batch["visual_index"]
    images = {name for name in batch if name.startswith(("images", "crop"))}
    tensors = {name: v[index] if name in images else v for name, v in batch.items()}
    tensors["visual_index"] = torch.arange(len(index), device=index.device)
    return MultimodalBatch(tensors, uids=batch.uids)
