"""Settings of the tables of systems: the schema behind their YAML files and overrides.

Imports no training code, so that ``--help`` and a mistake in the settings answer at once.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from mkgc_cl.config import setting, to_dict
from mkgc_cl.experiments.experiment_settings import (
    StreamSettings,
    name_problems,
    order_name,
    stream_config,
    stream_problems,
    with_order,
)
from mkgc_cl.systems import SYSTEMS, systems_of


@dataclass(frozen=True)
class EncoderSettings:
    """Fields of :class:`mkgc_cl.strategies.recipe.Encoders`."""

    text: str = setting("tiny", help="text encoder: tiny, minilm, a hub name or a folder")
    vision: str = setting("tiny", help="image encoder: tiny, vit-384, a timm name or a folder")
    pretrained: bool = setting(True, help="load pretrained weights where there are any")
    images: Literal["image", "crops", "image+crops"] = setting("image", help="visual input")
    max_text_length: int = setting(128, help="most tokens a sample may have", minimum=8)
    freeze_lower: int = setting(0, help="lowest layers that do not train", minimum=0)


@dataclass(frozen=True)
class SystemTraining:
    """Fields of :class:`mkgc_cl.strategies.recipe.Training`."""

    epochs: int = setting(5, help="passes over a task", minimum=1)
    batch_size: int = setting(16, help="samples per step", minimum=1)
    lr: float = setting(1e-3, help="learning rate of the encoders", above=0)
    head_lr: float | None = setting(None, help="of heads and CRF; lr by default", above=0)
    fusion_lr: float | None = setting(
        None, help="of layers between encoders and head; lr by default", above=0
    )
    weight_decay: float = setting(0.01, help="of AdamW", minimum=0)
    precision: Literal["fp32", "bf16"] = setting("fp32", help="of the forward pass")


@dataclass(frozen=True)
class TableSettings:
    """Everything about a table except where it is written and how loud that is."""

    name: str = setting("table", help="folder of the experiment under --out")
    systems: tuple[str, ...] = setting((), help="rows of the table; by default all of its task")
    seeds: tuple[int, ...] = setting((0, 1, 2), help="training seeds, one run each", minimum=0)
    orders: tuple[str, ...] = setting(
        (), help="orders of the stream, a table each; that of stream.order by default"
    )
    reference: str = setting("MSPT", help="system that the others are compared with")
    exemplars: int | None = setting(
        None,
        help="of every class and of N/A, the same for all that keep any; their own by default",
        minimum=0,
    )
    device: str = setting("auto", help="a torch device; auto takes a GPU where there is one")
    stream: StreamSettings = field(default_factory=StreamSettings)
    encoders: EncoderSettings = field(default_factory=EncoderSettings)
    training: SystemTraining = field(default_factory=SystemTraining)
    options: Mapping[str, Mapping[str, Any]] | None = setting(
        None,
        help="options of single systems, as in options='{EWC: {weight: 10}}'; "
        "each recipe's own by default",
    )

    @property
    def kind(self) -> Literal["re", "ner"]:
        """Task of the stream."""
        kinds: dict[str, Literal["re", "ner"]] = {"imre": "re", "imner": "ner"}
        return kinds.get(self.stream.scenario, self.stream.task)

    @property
    def scenario(self) -> str:
        """Name of the scenario, as in the records."""
        stream = self.stream
        return f"demo-{stream.task}" if stream.scenario == "demo" else stream.scenario

    @property
    def rows(self) -> tuple[str, ...]:
        """The systems, every one of the task where none is named."""
        return self.systems or systems_of(self.kind)

    @property
    def order(self) -> str:
        """Name of the one order these settings are about, as in the records."""
        return order_name(self.stream, self.scenario)

    def of_each_order(self) -> tuple[TableSettings, ...]:
        """These settings for every order they name."""
        if not self.orders:
            return (self,)
        return tuple(replace(self, stream=with_order(self.stream, order)) for order in self.orders)

    def run_config(self, system: str) -> dict[str, Any]:
        """Every setting that can change a number of one run of a system, as plain types.

        Left out are the list of other runs, which cannot, where the data lie (the same data
        elsewhere are the same, and their fingerprint is in the record), and the options: those of
        the one system join when their types are known.
        """
        plain = to_dict(self)
        for key in ("name", "systems", "seeds", "orders", "reference"):
            del plain[key]
        plain["stream"] = stream_config(self.stream)
        plain["stream"]["order"] = self.order
        del plain["options"]  # of all systems
        if not SYSTEMS[system].memory:
            plain["exemplars"] = None
        return plain

    def own_budgets(self, why: str) -> list[str]:
        """Rows whose options name a budget, which would silently win over that of all.

        Args:
            why: what says that there is one of all.
        """
        return [
            f"'options' gives {name} 'exemplars' of its own, and {why}; leave one of the two out"
            for name in self.rows
            if "exemplars" in ((self.options or {}).get(name) or {})
        ]

    def problems(self) -> Sequence[str]:
        """Mistakes that only show across settings."""
        found = [_unknown(name, "systems") for name in self.systems if name not in SYSTEMS]
        if self.reference not in SYSTEMS:
            found.append(_unknown(self.reference, "reference"))
        found += [_unknown(name, "options") for name in self.options or {} if name not in SYSTEMS]
        found += [
            f"'systems': {name} has no version for this task ({self.kind}); leave it out"
            for name in self.systems
            if name in SYSTEMS and self.kind not in SYSTEMS[name].tasks
        ]
        for key in ("systems", "seeds", "orders"):
            values = getattr(self, key)
            if len(set(values)) < len(values) or (key == "seeds" and not values):
                found.append(f"{key!r} must name each once, got {list(values)}")
        for settings in self.of_each_order():
            found += stream_problems(
                settings.stream, images=settings.encoders.images, key="encoders.images"
            )
        if self.exemplars is not None:
            found += self.own_budgets("'exemplars' is the budget of all")
        found += name_problems(self.name)
        return list(dict.fromkeys(found))


def _unknown(name: str, key: str) -> str:
    near = difflib.get_close_matches(name, SYSTEMS, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{key!r} names no system {name!r}; {hint}there are {', '.join(SYSTEMS)}"
