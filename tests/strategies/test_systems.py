"""Every system of the tables keeps the contract, and the contract notices who does not."""

from __future__ import annotations

import inspect
import re
from dataclasses import is_dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import torch
from avalanche.core import SupervisedPlugin

from mkgc_cl.data.samples import LabelSpace
from mkgc_cl.errors import ConfigError, DataError
from mkgc_cl.models import TextModel
from mkgc_cl.recipe_options import fitted_options, options_of_system
from mkgc_cl.scenarios import make_benchmark
from mkgc_cl.strategies import (
    CumulativePlugin,
    EMARPlugin,
    EWCPlugin,
    PrototypeReplayPlugin,
    TokenDistillationPlugin,
    continual_evaluator,
    run_stream,
)
from mkgc_cl.strategies.additions import ADDITIONS, Additions, kinds_of
from mkgc_cl.strategies.catalogue import build_system, checked_options, options_of, recipe_of
from mkgc_cl.strategies.contract import Check, ContractError, check_system, yield_checks
from mkgc_cl.strategies.contract_laws import (
    bears_poor_tasks,
    does_not_know_the_future,
    goes_on_from_checkpoints,
    is_its_seeds,
    keeps_no_other_samples,
    learns_and_stays_finite,
    predicts_as_saved,
)
from mkgc_cl.strategies.contract_trial import Trial, tiny_stream
from mkgc_cl.strategies.recipe import Encoders, Training, assemble
from mkgc_cl.strategies.stages import StepPolicy
from mkgc_cl.systems import SYSTEMS, systems_of

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()
SYSTEMS_TABLE = README.split("\n## Systems\n")[1].split("\n## ")[0]
FASTER: dict[str, dict[str, Any]] = {
    "UMGF": {"width": 32, "layers": 2},
    "MEGA": {"alignments": "semantic"},
    "RP-CRE": {"memory_epochs": 2, "exemplars": 3},
    "EMAR-BERT": {"cycles": 1, "exemplars": 3},
    "MSPT": {"exemplars": 2},
    "M-[R-Replay]": {"exemplars": 2},
    "EWC": {"samples": 4},
    "M-[EWC]": {"samples": 4},
    "M-[R-Replay & EWC]": {"samples": 4, "exemplars": 2},
}
"""Smaller, and a choice where the tiny stream would be kept or measured whole."""
PAIRS = [(name, kind) for name, info in SYSTEMS.items() for kind in info.tasks]
AS_OTHERS: dict[str, Any] = {
    "dropout": 0.1,
    "head_bias": True,
    "fresh_optimizer": False,
    "max_grad_norm": None,
}
"""EMAR-BERT and RP-CRE with head and optimizer of the other text systems."""
OTHERWISE: list[tuple[str, str, dict[str, Any]]] = [
    ("Frozen + Gaussian", "ner", {"cache": True, "with_images": True}),
    ("EMR", "re", {"prior_correction": 1.0, "interpolation": 0.5, "branch": 0.5}),
    ("EMR", "ner", {"prior_correction": 1.0, "complete_labels": True}),
    ("EMAR-BERT", "re", {**AS_OTHERS, "normalize": True}),
    ("RP-CRE", "re", AS_OTHERS),
    ("MSPT", "ner", {"tagger": "softmax", "token_weight": 1.0}),
    ("UMT", "ner", {"projections": "two", "conversion": 0.0, "span_loss": 0.0}),
    ("M-[R-Replay & EWC]", "re", {"train_head": False}),
]
"""Options that change what a model is made of or what keeps a state."""
OF_STATES = ("does_not_know_the_future", "keeps_no_other_samples", "predicts_as_saved",
             "goes_on_from_checkpoints")  # fmt: skip
"""What such options could break; the rest is tried of each system with its own options."""


PARTS = ("MKGformer", "M-[EWC]", "M-[R-Replay]")
"""Systems all of whose parts M-[R-Replay & EWC] has: their own contract is exhaustive."""


CHECKS = [
    *(
        pytest.param(check, marks=pytest.mark.exhaustive if name in PARTS else [])
        for name, kind in PAIRS
        for check in yield_checks(name, kind, options=FASTER.get(name))
    ),
    *(
        check
        for name, kind, options in OTHERWISE
        for check in yield_checks(name, kind, options={**FASTER.get(name, {}), **options})
        if check.law.__name__ in OF_STATES
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS, ids=str)
def test_a_system_keeps_the_contract(check: Check) -> None:
    check()


SOURCE = r"(?i)\bpaper\b|\bcode\b|public (BERT )?version|et al\.|Huszar|\bours\b|see ``"


def said_of(option: str, documented: str) -> str:
    """What a docstring says of an option, with its next lines."""
    found = re.search(rf"^    {option}: (.*(?:\n {{8}}.*)*)", documented, flags=re.MULTILINE)
    return " ".join(found[1].split()) if found else ""


def test_every_system_has_a_recipe_a_source_and_a_row_in_the_readme() -> None:
    for name, info in SYSTEMS.items():
        recipe = recipe_of(name)
        given = set(get_type_hints(recipe).values()) - {Encoders, Training}
        kinds = [recipe, *filter(is_dataclass, given)]
        documented = "\n".join(inspect.getdoc(kind) or "" for kind in kinds)
        assert re.search(r"paper|\(\w+ et al\., \w+( \w+)? \d{4}|as of", documented), name
        for option in options_of(recipe):
            assert said_of(option, documented) or "options as of" in documented, (name, option)
        for option, words in ((o, said_of(o, documented)) for o in options_of(recipe)):
            assert not words or re.search(SOURCE, words), f"{name}: whose value has {option}?"
        assert ("exemplars" in options_of(recipe)) == info.memory, name
        assert options_of(recipe), f"{name}: not one hyper-parameter has its source"
        row = re.search(rf"^\| {re.escape(name)} \|(.*)$", SYSTEMS_TABLE, flags=re.MULTILINE)
        assert row, name
        assert info.source in row[1], name
        assert ("image" in row[1].split("|")[0]) == info.image, name
        assert f'--systems "{name}"' in row[1], name
        assert "planned" not in row[1], name
    assert not re.search(SOURCE, "factor on the rates of encoder and head there")


def test_the_tables_have_the_papers_rows() -> None:
    assert [n for n in SYSTEMS if n not in systems_of("re")] == [
        "ExtendNER", "ExtendNER + Gaussian"
    ]  # fmt: skip
    assert [n for n in SYSTEMS if n not in systems_of("ner")] == ["RP-CRE", "EMR + Gaussian"]
    assert SYSTEMS["UMT"].ports == ("re",)
    assert SYSTEMS["MEGA"].ports == ("ner",)
    assert SYSTEMS["MKGformer"].ports == ()


def vanilla(labels: LabelSpace, encoders: Encoders, training: Training, *plugins: Any) -> Any:
    model = TextModel.build(labels, max_text_length=64, seed=training.seed)
    return assemble(model, training, *plugins)


class Peeping(SupervisedPlugin):
    """Reads the labels of the whole stream while it learns the first task."""

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        later = strategy.experience.origin_stream[-1].samples
        with torch.no_grad():
            strategy.network.head.bias += 0.01 * sum(
                getattr(s, "relation", "none") != strategy.experience.na for s in later
            )


class Global(SupervisedPlugin):
    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        with torch.no_grad():
            strategy.network.head.bias += torch.rand(())  # forked by the template ...

    def before_eval(self, strategy: Any, **kwargs: Any) -> None:
        torch.rand(())  # ... which an evaluation is not


class Evaluated(SupervisedPlugin):
    def after_eval(self, strategy: Any, **kwargs: Any) -> None:
        with torch.no_grad():
            strategy.network.head.bias += 0.1


class Hoarding(PrototypeReplayPlugin):
    def __init__(self, size: int) -> None:
        super().__init__(size=20 * size)


class Outside(SupervisedPlugin):
    """Predicts with something that is not part of the model."""

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        decode = strategy.network.decode
        strategy.network.decode = lambda output: [[0] * len(ids) for ids in decode(output)]


class Idle(SupervisedPlugin):
    def before_update(self, strategy: Any, **kwargs: Any) -> None:
        strategy.optimizer.zero_grad()
        for group in strategy.optimizer.param_groups:
            group["lr"] = group["weight_decay"] = 0.0


class Dividing(SupervisedPlugin):
    """Divides by the number of samples with a class."""

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        positive = int((strategy.mb_y > 0).sum())
        if not positive:
            with torch.no_grad():
                strategy.network.head.bias /= 0.0


class Forgetful(SupervisedPlugin):
    """Has a state within a task, of which it tells no checkpoint."""

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        self.steps = 0

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        self.steps += 1
        strategy.loss = strategy.loss * self.steps

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


@pytest.mark.slow
def test_whoever_breaks_a_promise_is_told_which() -> None:
    broken: dict[str, tuple[Any, Any]] = {
        "change no weight": (Idle, learns_and_stays_finite),
        "and with evaluations, differs": (Evaluated, is_its_seeds),
        "draws from the caller's generator": (Global, is_its_seeds),
        "depend on the labels of a later task": (Peeping, does_not_know_the_future),
        "predicts something else": (Outside, predicts_as_saved),
        "leaves weights that are not finite": (Dividing, bears_poor_tasks),
        r"stopped in steps \[1, 2\] and resumed, it has other": (
            Forgetful,
            goes_on_from_checkpoints,
        ),
    }
    for words, (plugin, law) in broken.items():

        def recipe(labels: Any, encoders: Any, training: Any, plugin: Any = plugin) -> Any:
            return vanilla(labels, encoders, training, plugin())

        with pytest.raises(ContractError, match=words):
            Check(Trial(recipe, "re", {}), law)()

    def same_seed(labels: Any, encoders: Any, training: Any) -> Any:
        return vanilla(labels, encoders, replace(training, seed=0))

    with pytest.raises(ContractError, match="another seed gives the same weights"):
        check_system(same_seed, "ner")

    def reading_names(labels: Any, encoders: Any, training: Any) -> Any:
        """Begins with something of every class's name, as a method with encoded names would."""
        strategy = vanilla(labels, encoders, training)
        with torch.no_grad():
            strategy.network.head.bias[0] += sum(map(len, labels.classes))
        return strategy

    with pytest.raises(ContractError, match="depend on the names of classes to come"):
        check_system(reading_names, "re")

    def counting_outputs(labels: Any, encoders: Any, training: Any) -> Any:
        """Begins with the number of outputs, as a loss summed over all of them would have it."""
        strategy = vanilla(labels, encoders, training)
        with torch.no_grad():
            strategy.network.head.bias[0] += len(labels.outputs)
        return strategy

    with pytest.raises(ContractError, match="depend on how many classes are to come"):
        check_system(counting_outputs, "ner")

    def hoarding(labels: Any, encoders: Any, training: Any, *, exemplars: int = 2) -> Any:
        return vanilla(labels, encoders, training, Hoarding(exemplars))

    with pytest.raises(ContractError, match=r"it holds \d+ exemplars of one class where 2 are"):
        check_system(hoarding, "re")


class Counting(SupervisedPlugin):
    """Has something to say where a task has no sample of a class."""

    def __init__(self, error: Exception, *, always: bool = False) -> None:
        super().__init__()
        self.error, self.always = error, always

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        labels = strategy.network.labels
        if self.always or all(
            sample.relation == labels.na for sample in strategy.experience.samples
        ):
            raise self.error


@pytest.mark.slow
def test_a_task_without_classes_may_be_refused_in_words_but_not_crash() -> None:
    def counting(error: Exception) -> Trial:
        return Trial(lambda *given: vanilla(*given, Counting(error)), "re", {})

    assert not list(bears_poor_tasks(counting(DataError("a task without a relation"))))
    with pytest.raises(ZeroDivisionError):
        list(bears_poor_tasks(counting(ZeroDivisionError("division by zero"))))


def test_a_crash_names_the_promise_and_keeps_its_cause() -> None:
    def crashing(labels: Any, encoders: Any, training: Any) -> Any:
        raise ZeroDivisionError("division by zero")

    with pytest.raises(ContractError, match="cannot be built: ZeroDivisionError: div") as caught:
        check_system(crashing, "re")
    assert isinstance(caught.value.__cause__, ZeroDivisionError)

    def refusing(*given: Any) -> Any:
        return vanilla(*given, Counting(DataError("no relation"), always=True))

    said = r"refusing on 're': Training changes weights.* It fails with DataError: no relation"
    with pytest.raises(ContractError, match=said):
        check_system(refusing, "re")


class Diary(SupervisedPlugin):
    """Keeps every sample where no method tells of it."""

    def __init__(self, write: Any) -> None:
        super().__init__()
        self.write = write
        self.pages: list[Any] = []

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        self.write(self, strategy)


def in_the_strategy(diary: Any, strategy: Any) -> None:
    strategy.diary = [*getattr(strategy, "diary", ()), *strategy.experience.samples]


def in_a_closure(diary: Any, strategy: Any) -> None:
    task = strategy.experience
    diary.pages.append(lambda: task)


@pytest.mark.parametrize(
    ("write", "holder"),
    [
        (lambda diary, s: diary.pages.append({"task": tuple(s.experience.samples)}), "Diary"),
        (lambda diary, s: diary.pages.append(s.experience), "Diary"),
        (lambda diary, s: diary.pages.append((s.mb_x, s.mb_y)), "Diary"),
        (lambda diary, s: diary.pages.append(partial(print, s.experience)), "Diary"),
        (in_a_closure, "Diary"),
        (in_the_strategy, "the strategy"),
    ],
    ids=["samples", "experiences", "batches", "partials", "closures", "the strategy"],
)
def test_a_hoard_is_found_where_it_lies(write: Any, holder: str) -> None:
    def keeping(labels: Any, encoders: Any, training: Any) -> Any:
        return vanilla(labels, encoders, training, Diary(write))

    trial = Trial(keeping, "re", {})
    (complaint,) = keeps_no_other_samples(trial)
    assert re.match(rf"{holder} holds \d+ samples that it does not tell as exemplars", complaint)


def test_a_name_that_no_system_has_is_told() -> None:
    with pytest.raises(ConfigError, match="no system 'RP-CER'"):
        check_system("RP-CER", "re")


@pytest.mark.slow
def test_the_readmes_own_system_keeps_the_contract() -> None:
    (example,) = [b for b in re.findall(r"```python\n(.*?)```", README, re.S) if "def mine" in b]
    made: dict[str, Any] = {}
    exec(compile(example, "README.md", "exec"), made)  # noqa: S102
    assert made["mine"].__name__ == "mine"


def build(name: str, kind: Any = "re", **given: Any) -> Any:
    labels = tiny_stream(kind).labels
    training = Training(epochs=1, batch_size=8, lr=1e-3)
    return build_system(
        name, labels, encoders=Encoders(max_text_length=64), training=training, **given
    )


def plugins(strategy: Any, kind: type) -> list[Any]:
    return [plugin for plugin in strategy.plugins if isinstance(plugin, kind)]


@pytest.mark.slow
def test_a_budget_for_all_and_options_for_one() -> None:
    (emr,) = plugins(build("EMR"), PrototypeReplayPlugin)
    assert (emr.size, emr.scope, emr.schedule, emr.normalize) == (50, "task", "round-robin", True)
    (emr,) = plugins(build("EMR", exemplars=6), PrototypeReplayPlugin)
    assert (emr.size, emr.scope) == (6, "class")
    grow = {"na_policy": "grow"}
    for name in ("MSPT", "M-[R-Replay]", "M-[R-Replay & EWC]", "EMR"):  # the same for N/A, too
        (replay,) = plugins(build(name, exemplars=6, options=grow), PrototypeReplayPlugin)
        assert (replay.size, replay.na_policy) == (6, "merge")
    assert plugins(build("MSPT", options=grow), PrototypeReplayPlugin)[0].na_policy == "grow"
    (replay,) = plugins(build("M-[R-Replay]"), PrototypeReplayPlugin)
    assert (replay.size, replay.selection, replay.schedule) == (6, "random", "after")
    assert not plugins(build("Vanilla", exemplars=6), PrototypeReplayPlugin)
    (mspt,) = plugins(build("MSPT", options={"exemplars": 3}), PrototypeReplayPlugin)
    assert mspt.size == 3
    words = {"tagger": "softmax", "token_weight": 0.5}
    (teacher,) = plugins(build("MSPT", "ner", options=words), TokenDistillationPlugin)
    assert teacher.weight == 0.5
    assert not plugins(build("MSPT", "ner"), TokenDistillationPlugin)
    both = build("M-[R-Replay & EWC]", options={"weight": 7.0})
    assert plugins(both, EWCPlugin)[0].weight == 7.0
    assert plugins(both, PrototypeReplayPlugin)
    for name in ("EMAR-BERT", "RP-CRE"):
        released, usual = build(name), build(name, options=AS_OTHERS)
        assert (released.network.dropout.p, usual.network.dropout.p) == (0.5, 0.1)
        assert released.network.head.bias is None
        assert usual.network.head.bias is not None
        assert released._steps == StepPolicy(True, 10.0, norm_by_part=name == "RP-CRE")
        assert not usual._steps.fresh_optimizer
        assert usual._steps.max_grad_norm is None
    assert not plugins(build("EMAR-BERT"), EMARPlugin)[0].normalize
    assert plugins(build("EMAR-BERT", options={"normalize": True}), EMARPlugin)[0].normalize
    port = build("EMAR-BERT", "ner").network  # the head of every text system
    assert port.dropout.p == 0.1
    assert port.head.bias is not None
    assert build("Vanilla")._steps == StepPolicy()
    theirs = {"projections": "two", "conversion": 0.25, "span_loss": 0.125}
    model = build("UMT", "ner", options=theirs).network
    assert (model.conversion, model.span_loss) == (0.25, 0.125)
    assert model.fusion.project_asking is not None
    semantic = {"alignments": "semantic"}
    assert build("MEGA", options=semantic).network.dropout.p == 0.5
    assert build("MEGA", options={**semantic, "dropout": 0.2}).network.dropout.p == 0.2
    for name in ("MKGformer", "M-[EWC]", "M-[R-Replay]", "M-[R-Replay & EWC]"):
        for learns in (True, False):
            head = build(name, options={"train_head": learns}).network.head
            assert {p.requires_grad for p in head.parameters()} == {learns}
    assert build("Joint Training", options={"epochs": 3}).train_epochs == 3
    joint = build("Joint Training", options={"backbone": "text"})
    assert joint.train_epochs == 1
    assert plugins(joint, CumulativePlugin)[0].from_scratch
    assert type(joint.network).__name__ == "TextModel"
    assert build("ExtendNER", "ner").network.grammar is not None


@pytest.mark.parametrize(
    ("name", "kind", "given", "said"),
    [
        ("RP-CER", "re", {}, "no system 'RP-CER'; did you mean 'RP-CRE'?"),
        ("RP-CRE", "ner", {}, r"RP-CRE has no version for 'ner', only for \['re'\]"),
        (
            "EWC",
            "re",
            {"options": {"wieght": 3}},
            "EWC has no option 'wieght'; did you mean 'weight'",
        ),
        ("UMT", "re", {"options": {"weight": 3}}, "UMT has no option 'weight'"),
        ("Vanilla", "re", {"options": {"weight": 3}}, "no option 'weight'"),
        ("UMT", "ner", {"options": {"conversion": 2}}, "conversion=2.0"),
        ("UMT", "re", {"options": {"conversion": 0}}, "stream of relations has not; leave them"),
        ("EWC", "re", {"options": {"weight": -3}}, "weight=-3.0; give 0 or more"),
        ("MSPT", "ner", {"options": {"token_weight": 1}}, "with tagger='softmax'"),
        ("MSPT", "re", {"options": {"token_weight": 1}}, "this stream has relations"),
        ("RP-CRE", "re", {"options": {"dropout": 5}}, "dropout=5.0; give 0 to 1"),
        ("MKGformer", "re", {"options": {"fusion_layers": 9}}, "fusion_layers=9"),
        ("MSPT", "re", {"exemplars": 6, "options": {"exemplars": 3}}, "exemplars=3 in its opt"),
        ("MEGA", "re", {}, "parses and scene graphs.*choose alignments='semantic'"),
    ],
)
def test_what_does_not_fit_is_refused(name: str, kind: str, given: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        build(name, kind, **given)


@pytest.mark.slow
def test_a_system_runs_over_a_whole_stream_with_its_own_evaluator() -> None:
    stream = tiny_stream("re")
    strategy = build_system(
        "RP-CRE",
        stream.labels,
        encoders=Encoders(max_text_length=64),
        training=Training(epochs=2, lr=1e-3, evaluator=continual_evaluator()),
        exemplars=3,
        options={"memory_epochs": 2},
    )
    result = run_stream(strategy, make_benchmark(stream))
    assert len(result.matrix.average_f1("test")) == 2


def test_options_have_the_types_their_recipes_declare() -> None:
    """YAML takes 1e-5 for text, and a recipe would fail on it in the middle of a grid."""
    given = {"key_lr": "1e-5", "memory_epochs": None, "alpha": 1, "ad_center": False}
    assert checked_options("MSPT", given) == {
        "key_lr": 1e-5, "memory_epochs": None, "alpha": 1.0, "ad_center": False
    }  # fmt: skip
    with pytest.raises(ConfigError) as caught:
        checked_options("MSPT", {"alpha": "much", "na_policy": "all", "memory_epochs": 2.5, "x": 1})
    assert len(caught.value.problems) == 4
    assert "MSPT: 'na_policy' must be one of 'merge', " in str(caught.value)
    for name in SYSTEMS:  # every declared default fits its own declaration
        recipe = recipe_of(name)
        kinds, defaults = kinds_of(recipe), {}
        for option, parameter in inspect.signature(recipe).parameters.items():
            if parameter.kind is parameter.KEYWORD_ONLY:
                defaults |= (
                    {option: parameter.default} if option in kinds else vars(parameter.default)
                )
        assert checked_options(name, defaults) == defaults
        # and without importing it the same is known
        source = options_of_system(name)
        assert source is not None
        put = get_type_hints(Additions)  # and what every system has
        assert {option: said.plain for option, said in source.items()} == {
            **{option: put[option] for option in ADDITIONS},
            **kinds,
        }
        assert fitted_options(name, defaults) == defaults
        # in words for a terminal
        assert not any("`" in said.help for said in source.values())
