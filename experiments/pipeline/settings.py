"""Settings of an experiment: the schema behind the YAML files, the flags and ``key=value``.

Imports no training code, so that ``--help`` and a mistake in the settings answer at once.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

from mkgc_cl.config import resolve, setting, to_dict
from mkgc_cl.data.orders import order_arguments
from mkgc_cl.encoders import Encoders
from mkgc_cl.errors import ConfigError
from mkgc_cl.experiments.pipeline.corpus import corpus_of, corpus_problems, order_of_tasks

FORBIDDEN = '/\\:*?"<>|'
"""Characters that a folder's name cannot have on Windows; a colon would end it without a word."""
LONGEST_NAME = 200
"""Bytes; file systems take 255, some of them less."""
CONFIGS = Path(__file__).resolve().parents[1] / "configs"
DEFAULT_ORDERS = {
    "demo-ner": "PER-ORG-LOC-MISC",
    "demo-re": "default",
    "imner": "PER-LOC-ORG-MISC",
    "imre": "sep10",
}
OF_ONE = {
    "negative": (
        "imre",
        ", whose files name relations (own files say it in their YAML file)",
    ),
    "rule": ("imner", " (own files say multi_type in their YAML file)"),
    "repair": ("imner", " (own files say it in their YAML file)"),
}
"""Settings of a stream that one scenario has, and where others say it."""

Kind = Literal["re", "ner"]
SCENARIOS = ("demo", "files", "imner", "imre")
Control = Literal["none", "shuffled-images", "blank-images", "blank-text"]
CONTROLS: tuple[Control, ...] = get_args(Control)
SHOWN_IF_SET = {
    "stream": ("control", "negative", "captioner", "repair", "rule"),
    "encoders": ("share_captions", "captions_behind_text", "freeze_vision"),
}
"""Settings that a run's configuration leaves out where they are as usual.

Runs from before there were any stay the same runs.
"""


@dataclass(frozen=True)
class StreamSettings:
    """The stream of tasks."""

    scenario: Literal["demo", "files", "imner", "imre"] = setting("demo", help="which stream")
    task: Literal["ner", "re"] = setting(
        "ner", help="of the synthetic stream: tagging or relations"
    )
    data: str | None = setting(
        None,
        help="folder with MRE/ and MNER/, of files the YAML file; MKGC_DATA by default",
    )
    order: tuple[str, ...] = setting(
        (),
        help="imner: its types; imre: sep10, sep7 or sep5; demo, files: their classes; "
        "all but demo: seed:N, a drawn one; the usual one by default",
    )
    missing_images: Literal["error", "blank"] = setting(
        "error", help="what to do where an image file is not there; files: as their YAML file says"
    )
    captions: str | None = setting(
        None, help="file of captions, read with encoders.images=captions; none by default"
    )
    captioner: str | None = setting(
        None, help="whose captions, of several; the only one by default"
    )
    negative: str = setting(
        "None", help="imre: what the files call a pair without a relation (no_relation, NA, Other)"
    )
    repair: Literal["none", "conlleval"] = setting(
        "none", help="imner: conlleval reads tags that break their scheme as conlleval does"
    )
    rule: Literal["priority", "keep-all-mentions", "complete"] = setting(
        "priority",
        help="imner: which tasks a sentence is in; complete hides no label, for upper bounds",
    )
    split: Literal["test", "valid"] = setting(
        "test", help="samples to measure on; choose settings on valid"
    )
    control: Literal["none", "shuffled-images", "blank-images", "blank-text"] = setting(
        "none", help="take a modality away, to see what it was worth"
    )
    merge: int = setting(1, help="demo, files: so many tasks of relations in one", minimum=1)
    first: int | None = setting(
        None, help="only so many tasks, to choose settings on; all by default", minimum=1
    )
    seed: int = setting(0, help="seed of the synthetic stream's samples, the same for every run")
    train_per_task: int = setting(240, help="demo: training samples of a task", minimum=1)
    test_size: int = setting(220, help="demo: test samples of the stream", minimum=1)


@dataclass(frozen=True)
class TrainingSettings:
    """Fields of :class:`mkgc_cl.strategies.recipe.Training`."""

    epochs: int = setting(5, help="passes over a task", minimum=1)
    batch_size: int = setting(16, help="samples per step", minimum=1)
    lr: float = setting(1e-3, help="learning rate of the encoders", above=0)
    head_lr: float | None = setting(None, help="of heads and CRF; lr by default", above=0)
    fusion_lr: float | None = setting(
        None, help="of fusion layers between encoders and head; lr by default", above=0
    )
    projection_lr: float | None = setting(
        None, help="of a linear projection there (RP-CRE, EMAR-BERT); lr by default", above=0
    )
    weight_decay: float = setting(0.01, help="of AdamW", minimum=0)
    precision: Literal["fp32", "bf16"] = setting("fp32", help="of the forward pass")


@dataclass(frozen=True)
class CheckpointSettings:
    """When a run that is killed can go on; after every task it always can."""

    steps: int | None = setting(
        None, help="one within tasks, too, every so many steps; none by default", minimum=1
    )
    minutes: float | None = setting(
        None, help="one within tasks, too, every so many minutes; none by default", above=0
    )


@dataclass(frozen=True)
class Settings:
    """Everything about an experiment except where it is written and how loud that is."""

    name: str = setting("experiment", help="folder of the experiment under --out")
    systems: tuple[str, ...] = setting((), help="rows of the table; by default all of its task")
    seeds: tuple[int, ...] = setting((0, 1, 2), help="training seeds, one run each", minimum=0)
    orders: tuple[str, ...] = setting(
        (), help="orders of the stream, a table each; that of stream.order by default"
    )
    reference: str | None = setting(
        None, help="row that the others are compared with; by default MSPT, of an ablation full"
    )
    exemplars: int | None = setting(
        None,
        help="of every class and of N/A, the same for all that keep any; their own by default",
        minimum=0,
    )
    device: str = setting("auto", help="a torch device; auto takes a GPU where there is one")
    stream: StreamSettings = field(default_factory=StreamSettings)
    encoders: Encoders = field(default_factory=Encoders)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    checkpoint: CheckpointSettings = field(default_factory=CheckpointSettings)
    options: Mapping[str, Mapping[str, Any]] | None = setting(
        None, help="of single systems, in a file; on the command line SYSTEM.option=value"
    )

    @property
    def kind(self) -> Kind:
        """Task of the stream.

        Raises:
            ConfigError: it is one of own files, and their YAML file is wrong.
        """
        if self.stream.scenario == "files" and self.stream.data is not None:
            return corpus_of(self.stream.data).kind or self.stream.task
        kinds: dict[str, Kind] = {"imre": "re", "imner": "ner"}
        return kinds.get(self.stream.scenario, self.stream.task)

    @property
    def scenario(self) -> str:
        """Name of the scenario, as in the records; of own files the name of the corpus."""
        stream = self.stream
        if stream.scenario == "files" and stream.data is not None:
            return corpus_of(stream.data).name
        return f"demo-{stream.task}" if stream.scenario == "demo" else stream.scenario

    @property
    def order(self) -> str:
        """Name of the one order these settings are about, as in the records.

        That of own files is known when they are read.
        """
        stream = self.stream
        if stream.scenario != "files":
            name = arrival(stream, self.scenario)
        elif stream.data is None or "-".join(stream.order).startswith("seed:"):
            name = "-".join(stream.order)
        else:
            from mkgc_cl.experiments.pipeline.streams import read_stream

            whole = replace(stream, control="none", merge=1, first=None)
            name = order_of_tasks(read_stream(whole, self.encoders.images))
        if stream.merge > 1:
            name += f", {stream.merge} in one"
        return name if stream.first is None else f"{name}, first {stream.first}"

    def of_each_order(self) -> tuple[Settings, ...]:
        """These settings for every order they name."""
        if not self.orders:
            return (self,)
        return tuple(replace(self, stream=with_order(self.stream, order)) for order in self.orders)

    def run_config(self) -> dict[str, Any]:
        """Every setting that can change a number of any run, as plain types.

        Left out are the list of other runs and checkpoints, which cannot, where the data lie (the
        same data elsewhere are the same, and their fingerprint is in the record), and the options,
        of which a run has its own.
        """
        plain = to_dict(self)
        for key in ("name", "systems", "seeds", "orders", "reference", "checkpoint", "options"):
            del plain[key]
        for key in ("data", "captions", "merge", "first"):
            del plain["stream"][key]  # the fingerprint and the order tell of them
        for section, names in SHOWN_IF_SET.items():
            usual = to_dict(getattr(Settings(), section))
            for key in names:
                if plain[section][key] == usual[key]:
                    del plain[section][key]
        plain["stream"]["order"] = self.order  # left to the default or written out: the same run
        return plain

    def problems(self) -> Sequence[str]:
        """Mistakes that only show across settings, those of names of systems apart."""
        found = []
        for key in ("systems", "seeds", "orders"):
            values = getattr(self, key)
            if len(set(values)) < len(values) or (key == "seeds" and not values):
                found.append(f"{key!r} must name each once, got {list(values)}")
        files = self.stream.scenario == "files"
        if files and self.stream.data is not None and (wrong := corpus_problems(self.stream.data)):
            return [*found, *wrong, *name_problems(self.name)]
        for settings in self.of_each_order():
            found += stream_problems(
                settings.stream, settings.kind, images=settings.encoders.images
            )
        found += name_problems(self.name)
        return list(dict.fromkeys(found))


def arrival(stream: StreamSettings, scenario: str) -> str:
    """How the classes of the whole stream arrive: ``PER-ORG-LOC-MISC``, ``sep10``."""
    return "-".join(stream.order) or DEFAULT_ORDERS[scenario]


def with_order(stream: StreamSettings, order: str) -> StreamSettings:
    """Return the stream in the order of this name: ``PER-ORG-LOC-MISC``, ``sep10``."""
    return replace(stream, order=tuple(part for part in order.split("-") if part))


def stream_problems(stream: StreamSettings, kind: Kind, *, images: str) -> list[str]:
    """Mistakes across the settings of a stream."""
    key = "encoders.images"
    found = []
    if stream.scenario == "demo" and stream.data is not None:
        found.append(
            "'stream.data' is not read by the synthetic stream; add --scenario imner, imre or "
            "files, no --quick"
        )
    if stream.scenario == "demo" and images != "image":
        found.append(f"{key!r} is {images}, but the synthetic stream has whole images only (image)")
    for name, (scenario, elsewhere) in OF_ONE.items():
        if stream.scenario != scenario and getattr(stream, name) != getattr(StreamSettings(), name):
            found.append(f"'stream.{name}' is for {scenario}{elsewhere}; leave it out")
    if stream.merge > 1 and (stream.scenario not in ("demo", "files") or kind != "re"):
        found.append(
            "'stream.merge' is for relations of the synthetic stream or of own files; leave it out"
        )
    told = stream.captions is not None or stream.captioner is not None
    if stream.scenario in ("imner", "imre"):
        if images == "captions" and stream.captions is None:
            found.append(f"{key!r} is captions; give the file of them as 'stream.captions'")
        try:
            order_arguments(stream.scenario, arrival(stream, stream.scenario))
        except ConfigError as error:
            found += [f"'stream.order': {problem}" for problem in error.problems]
    if stream.scenario != "files" and images != "captions" and told:
        found.append(
            f"'stream.captions' and 'stream.captioner' are for {key}=captions; give that, or leave "
            "them out"
        )
    return found


def resolve_settings(
    *,
    yaml_path: str | Path,
    overrides: Sequence[str] = (),
    flags: Mapping[str, object] | None = None,
) -> Settings:
    """Resolve settings; what the YAML file of a corpus says of images comes before all of them.

    Raises:
        ConfigError: naming every mistake, in the file of the corpus, too.
    """
    settings = resolve(Settings, yaml_path=yaml_path, overrides=overrides, flags=flags)
    if settings.stream.scenario != "files":
        return settings
    if settings.stream.data is None:
        raise ConfigError(["'stream.data' must be the YAML file of a corpus; give it as --data"])
    corpus = corpus_of(settings.stream.data)
    said = {"encoders.images": corpus.images, "stream.missing_images": corpus.missing_images}
    return resolve(Settings, yaml_path=yaml_path, overrides=overrides, flags=flags, defaults=said)


def name_problems(name: str) -> list[str]:
    """Say why ``name`` cannot be that of the folder of an experiment."""
    forbidden = not name.isprintable() or not set(name).isdisjoint(FORBIDDEN)
    if not name or forbidden or name[-1] in ". ":
        return [
            f"'name' must be the name of one folder on any system (without {FORBIDDEN}, no dot or "
            f"space at its end), got {name!r}"
        ]
    if len(name.encode()) > LONGEST_NAME:
        return [f"'name' must be at most {LONGEST_NAME} bytes long, got {len(name.encode())}"]
    return []


@cache
def usual_settings(name: str) -> Settings:
    """Return the settings that need no word in the name of a folder."""
    for known in (CONFIGS / f"{name}.yaml", CONFIGS / f"table-{name}.yaml"):
        if known.is_file():
            return resolve(Settings, yaml_path=known)
    return Settings()


def config_path(name: str) -> Path:
    """Return the YAML file of a known setting, or ``name`` itself if it is there.

    Raises:
        ConfigError: if there is neither.
    """
    known = {path.stem: path for path in sorted(CONFIGS.glob("*.yaml"))}
    if name in known:
        return known[name]
    if os.path.lexists(name):  # what it is, and whether it can be read, its reader says
        return Path(name)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    shown = name if len(name) < 200 else f"{name[:200]}..."
    raise ConfigError(
        [f"--config {shown}: no such file or setting; {hint}known settings: {', '.join(known)}"]
    )
