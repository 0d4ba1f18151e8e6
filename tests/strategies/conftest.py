"""Tiny streams and models, and a plugin that writes down every training step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from avalanche.core import SupervisedPlugin
from PIL import Image
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor
from transformers import BertConfig, BertModel

from mkgc_cl.data.images import BLANK
from mkgc_cl.data.samples import (
    LabelSpace,
    RelationSample,
    TaggingSample,
    Task,
    TaskKind,
    TaskStream,
    VisualInput,
)
from mkgc_cl.data.tokenizer import HashTokenizer
from mkgc_cl.models import (
    DualStreamModel,
    ExtractionModel,
    GaussianOptions,
    GaussianReadout,
    MemoryAttentionReadout,
    PrototypeReadout,
    TextModel,
    build_optimizer,
)
from mkgc_cl.scenarios import KnowledgeBenchmark, make_benchmark
from mkgc_cl.seeds import seeded
from mkgc_cl.strategies import (
    EMARPlugin,
    GaussianReadoutPlugin,
    MultimodalStrategy,
    RPCREPlugin,
)

WIDTH = 16
SIDE = 16
TOKENIZER = HashTokenizer(buckets=97)


@dataclass(frozen=True, slots=True)
class Paint:
    """An image of one colour."""

    level: int

    @property
    def key(self) -> str:
        return f"paint/{self.level}"

    def fingerprint(self) -> str:
        return self.key

    def read(self) -> Image.Image:
        return Image.new("RGB", (SIDE, SIDE), (self.level, 255 - self.level, 90))


def image(number: int) -> VisualInput:
    """A third of the samples have no image; two samples in a row may share one."""
    return VisualInput(BLANK if number % 3 == 2 else Paint(40 * (number // 2 % 5)))


def relation_sample(uid: str, number: int, relation: str, *, filler: str = "w") -> RelationSample:
    words = [f"{filler}{(number * 7 + k) % 23}" for k in range(1 + number % 5)]
    tokens = ("head", f"{relation}-verb", *words, "tail")
    last = len(tokens)
    return RelationSample(uid, tokens, (0, 1), (last - 1, last), relation, image(number))


def re_stream(tasks: int = 2, *, per_class: int = 4, na: int = 3) -> TaskStream:
    """Two relations per task, N/A in every task."""
    groups = [(f"r{2 * t}", f"r{2 * t + 1}") for t in range(tasks)]
    counter = iter(range(10_000))

    def samples(split: str, classes: Sequence[str], each: int, negative: int) -> tuple[Any, ...]:
        wanted = [name for name in classes for _ in range(each)] + ["none"] * negative
        numbers = [next(counter) for _ in wanted]
        return tuple(
            relation_sample(f"re/{split}/{n}", n, name)
            for n, name in zip(numbers, wanted, strict=True)
        )

    return TaskStream(
        "tiny-re",
        LabelSpace("re", tuple(name for group in groups for name in group), na="none"),
        tuple(
            Task(
                f"T{t + 1}",
                group,
                samples("train", group, per_class, na),
                samples("valid", group, 1, 1),
                samples("test", group, 2, 1),
            )
            for t, group in enumerate(groups)
        ),
        {},
    )


def tagging_sample(uid: str, number: int, kinds: Sequence[str], keep: Sequence[str]) -> Any:
    """A sample that mentions every type of ``kinds``, two words each, and tags those to keep."""
    tokens: list[str] = []
    tags: list[str] = []
    for kind in kinds:
        tokens += [f"w{(number * 5 + len(tokens)) % 19}", f"{kind}-first", f"{kind}-last"]
        tags += ["O", f"B-{kind}", f"I-{kind}"] if kind in keep else ["O", "O", "O"]
    tokens += [f"w{(number * 3 + k) % 19}" for k in range(number % 4)]
    tags += ["O"] * (number % 4)
    return TaggingSample(uid, tuple(tokens), tuple(tags), image(number))


def ner_stream(tasks: int = 2, *, per_class: int = 8, na: int = 3) -> TaskStream:
    """One type per task; ``na`` of the training samples have no entity; test sentences shared."""
    kinds = [f"K{t}" for t in range(tasks)]
    made = []
    for t, kind in enumerate(kinds):
        first = 100 * t
        train = [
            tagging_sample(f"ner/train/{first + n}", first + n, [kind], [kind] * (n < per_class))
            for n in range(per_class + na)
        ]
        valid = [tagging_sample(f"ner/valid/{first + n}", n, [kind], [kind]) for n in range(3)]
        test = [tagging_sample(f"ner/test/{n}", n, kinds, [kind]) for n in range(5)]
        made.append(Task(kind, (kind,), tuple(train), tuple(valid), tuple(test)))
    return TaskStream("tiny-ner", LabelSpace("ner", tuple(kinds)), tuple(made), {})


@dataclass
class Step:
    """One training step as it happened."""

    phase: str
    task: str
    uids: tuple[str, ...]
    replayed: list[bool]
    targets: Tensor
    rates: list[float]
    before: dict[str, Tensor]
    gradients: dict[str, Tensor]
    after: dict[str, Tensor]
    loss: float

    @property
    def current(self) -> tuple[str, ...]:
        return tuple(u for u, old in zip(self.uids, self.replayed, strict=True) if not old)

    @property
    def memory(self) -> tuple[str, ...]:
        return tuple(u for u, old in zip(self.uids, self.replayed, strict=True) if old)


def step_rates(optimizer: torch.optim.Optimizer) -> list[dict[tuple[str, str], float]]:
    """Learning rates by modality and role of every step from now on, as the step is taken."""
    found: list[dict[tuple[str, str], float]] = []

    def note(stepping: torch.optim.Optimizer, *_: Any) -> None:
        groups = stepping.param_groups
        found.append({(group["modality"], group["role"]): group["lr"] for group in groups})

    optimizer.register_step_pre_hook(note)
    return found


class Recorder(SupervisedPlugin):
    """Write down every training step; the first of the plugins, so that it sees them as they come.

    Args:
        tensors: keep parameters and gradients too.
    """

    def __init__(self, *, tensors: bool = False) -> None:
        super().__init__()
        self.steps: list[Step] = []
        self._tensors = tensors
        self._rates: list[dict[tuple[str, str], float]] | None = None

    def _copy(self, strategy: Any, *, gradients: bool = False) -> dict[str, Tensor]:
        if not self._tensors:
            return {}
        named = strategy.network.named_parameters()
        if gradients:
            return {name: p.grad.clone() for name, p in named if p.grad is not None}
        return {name: p.detach().clone() for name, p in named}

    def before_training(self, strategy: Any, **kwargs: Any) -> None:
        if self._rates is None:
            self._rates = step_rates(strategy.optimizer)

    def before_update(self, strategy: Any, **kwargs: Any) -> None:
        self.steps.append(
            Step(
                phase=strategy.phase,
                task=strategy.experience.task_name,
                uids=strategy.batch.uids,
                replayed=strategy.batch["replayed"].tolist(),
                targets=strategy.mb_y,
                rates=[],
                before=self._copy(strategy),
                gradients=self._copy(strategy, gradients=True),
                after={},
                loss=float(strategy.loss.detach()),
            )
        )

    def after_update(self, strategy: Any, **kwargs: Any) -> None:
        self.steps[-1].after = self._copy(strategy)
        self.steps[-1].rates = list(self._rates[-1].values()) if self._rates else []


class CutOff(SupervisedPlugin):
    """Interrupt a run once, after the update of one step of one task (both counted from 0)."""

    def __init__(self, *, task: int, step: int) -> None:
        super().__init__()
        self._armed = True
        self._at = (task, step)

    def after_update(self, strategy: Any, **kwargs: Any) -> None:
        clock = strategy.clock
        if self._armed and (clock.train_exp_counter, clock.train_exp_iterations) == self._at:
            self._armed = False
            raise KeyboardInterrupt


def bert(dropout: float) -> BertModel:
    """Three layers of width 16."""
    config = BertConfig(
        vocab_size=TOKENIZER.vocabulary,
        hidden_size=WIDTH,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=2 * WIDTH,
        max_position_embeddings=32,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        initializer_range=0.2,
    )
    return BertModel(config, add_pooling_layer=False)


class Kit:
    """What the tests of this folder build their runs from."""

    Recorder = Recorder
    CutOff = CutOff
    step_rates = staticmethod(step_rates)
    relation_sample = staticmethod(relation_sample)
    tagging_sample = staticmethod(tagging_sample)

    def stream(self, kind: TaskKind, tasks: int = 2, **sizes: int) -> TaskStream:
        return (re_stream if kind == "re" else ner_stream)(tasks, **sizes)

    def benchmark(self, kind: TaskKind, tasks: int = 2, **sizes: int) -> KnowledgeBenchmark:
        return make_benchmark(self.stream(kind, tasks, **sizes))

    def model(
        self, labels: LabelSpace, *, dropout: float = 0.1, seed: int = 0, **options: Any
    ) -> DualStreamModel:
        """Three layers of width 16, two of which interact."""
        with seeded(seed, "tiny-encoders"):
            text = bert(dropout)
            vision = VisionTransformer(
                img_size=SIDE, patch_size=8, embed_dim=WIDTH, depth=3, num_heads=2, num_classes=0
            )
        return DualStreamModel(
            labels,
            text=text,
            tokenizer=TOKENIZER,
            vision=vision,
            interaction_layers=2,
            max_text_length=32,
            dropout=dropout,
            seed=seed,
            **options,
        )

    def text_model(
        self, labels: LabelSpace, *, dropout: float = 0.1, seed: int = 0, **options: Any
    ) -> TextModel:
        """The same text encoder alone; tags are scored word by word unless told otherwise."""
        with seeded(seed, "tiny-encoders"):
            text = bert(dropout)
        return TextModel(
            labels,
            text=text,
            tokenizer=TOKENIZER,
            max_text_length=32,
            dropout=dropout,
            seed=seed,
            **{"tagger": "softmax", **options},
        )

    @staticmethod
    def give_readout(model: ExtractionModel, *plugins: Any) -> None:
        """What a recipe does for a method that predicts through a readout."""
        outputs, width = model.head.rows.shape
        for plugin in plugins:
            if isinstance(plugin, GaussianReadoutPlugin):
                model.readout = GaussianReadout(
                    model.labels.outputs,
                    width=model.readout_width,
                    options=GaussianOptions(shrinkage=0.5),
                )
            if getattr(plugin, "size", 0) == 0 or model.labels.kind != "re":
                continue
            if isinstance(plugin, EMARPlugin):
                model.readout = PrototypeReadout(outputs=outputs, width=width)
            elif isinstance(plugin, RPCREPlugin):
                model.readout = MemoryAttentionReadout(model.head, heads=2, key_width=4)

    def strategy(
        self,
        labels: LabelSpace,
        *plugins: Any,
        dropout: float = 0.1,
        kind: str = "adamw",
        lr: float = 0.01,
        weight_decay: float = 0.01,
        model: ExtractionModel | None = None,
        batch: int = 4,
        epochs: int = 1,
        **options: Any,
    ) -> MultimodalStrategy:
        network = self.model(labels, dropout=dropout) if model is None else model
        if network.readout is None:
            self.give_readout(network, *plugins)
        return MultimodalStrategy(
            model=network,
            optimizer=build_optimizer(network, lr=lr, weight_decay=weight_decay, kind=kind),  # type: ignore[arg-type]
            plugins=list(plugins),
            train_mb_size=batch,
            train_epochs=epochs,
            eval_mb_size=4,
            **options,
        )

    def train(
        self, strategy: MultimodalStrategy, benchmark: KnowledgeBenchmark
    ) -> dict[str, Tensor]:
        """Train on every task; return a copy of the final state."""
        for experience in benchmark.train_stream:
            strategy.train(experience)
        return self.weights(strategy)

    @staticmethod
    def weights(strategy: MultimodalStrategy) -> dict[str, Tensor]:
        return {name: value.clone() for name, value in strategy.network.state_dict().items()}

    @staticmethod
    def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
        """Whether two states agree to the last bit."""
        assert first.keys() == second.keys()
        return all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.fixture(scope="session")
def kit() -> Kit:
    return Kit()


@pytest.fixture(params=["re", pytest.param("ner", marks=pytest.mark.slow)])
def kind(request: pytest.FixtureRequest) -> str:
    """Both tasks; in the fast tier what is not special to tags is tried on relations alone."""
    return str(request.param)
