"""The promises of every system, each a generator of complaints about one on trial."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from tempfile import TemporaryDirectory

import torch

from mkgc_cl.data.samples import LabelSpace, RelationSample, Sample, Task, TaskStream
from mkgc_cl.errors import ConfigError, DataError
from mkgc_cl.scenarios import make_benchmark
from mkgc_cl.scenarios.benchmark import group_label
from mkgc_cl.seeds import seeded
from mkgc_cl.strategies.additions import kinds_of
from mkgc_cl.strategies.checkpoints import Checkpointing
from mkgc_cl.strategies.contract_trial import (
    Trial,
    attributes_of_a_strategy,
    common_rows,
    exemplars_of,
    predict,
    same,
    tiny_stream,
    weights,
)
from mkgc_cl.strategies.kept_samples import reachable_samples
from mkgc_cl.strategies.template import MultimodalStrategy


def learns_and_stays_finite(trial: Trial) -> Iterator[str]:
    """Training changes weights, and leaves none that is not finite.

    What is learnt may be a buffer (prototypes, statistics); which outputs were seen is not.
    """
    before, after = weights(trial.build(trial.stream.labels)), weights(trial.plain)
    if all(torch.equal(value, after[name]) for name, value in before.items() if name != "seen"):
        yield "two tasks of training change no weight"
    for name, value in after.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            yield f"{name} is not finite after training"


def is_its_seeds(trial: Trial) -> Iterator[str]:
    """Equal seeds, equal weights; evaluation and the caller's generator change nothing."""
    # from another state than the caller's, so that a draw from it would show in the weights
    with seeded(1, "another-caller"):
        state = torch.get_rng_state()
        benchmark = make_benchmark(trial.stream)
        strategy = trial.build(trial.stream.labels)
        for index, experience in enumerate(benchmark.train_stream):
            strategy.train(experience)
            strategy.eval(benchmark.test_stream[: index + 1])
        untouched = torch.equal(state, torch.get_rng_state())
    if not same(weights(strategy), weights(trial.plain)):
        yield "the same seed, from another state of the caller's and with evaluations, differs"
    if not untouched:
        yield "it draws from the caller's generator"
    if same(weights(trial.run(trial.stream, tasks=1, seed=1)), weights(trial.first)):
        yield "another seed gives the same weights"


def does_not_know_the_future(trial: Trial) -> Iterator[str]:
    """What later tasks hold changes nothing, nor what their classes are called or how many."""
    first, *later = trial.stream.tasks
    hidden = replace(trial.stream, tasks=(first, *(_unlabelled(t, trial.stream) for t in later)))
    one = trial.first
    if not same(weights(one), weights(trial.run(_renamed(hidden), tasks=1))):
        if same(weights(one), weights(trial.run(hidden, tasks=1))):
            yield "the first task's weights depend on the names of classes to come"
        yield "the first task's weights depend on the labels of a later task"
    yield from _does_not_count_what_is_to_come(trial)
    samples = [s for task in trial.stream.tasks for s in task.test]
    unseen = [not bool(flag) for flag in one.network.seen]
    if any(unseen[output] for ids in predict(one, samples) for output in ids):
        yield "it predicts a class that no task has brought yet"


def _does_not_count_what_is_to_come(trial: Trial) -> Iterator[str]:
    """The same two tasks, as the last of a stream and with more tasks and classes after them."""
    longer = tiny_stream(trial.kind, tasks=4)
    few, many = trial.plain, trial.run(longer)
    if not same(common_rows(weights(many), weights(few)), weights(few)):
        yield "the weights after two tasks depend on how many classes are to come"
    if exemplars_of(many) != exemplars_of(few):
        yield "the exemplars of two tasks depend on how many classes are to come"
    samples = [s for task in trial.stream.tasks for s in task.test]
    if predict(many, samples) != predict(few, samples):
        yield "predictions after two tasks depend on how many classes are to come"


def keeps_to_its_budget(trial: Trial) -> Iterator[str]:
    """A memory of n a class holds at most n of every class and of N/A; of 0 it holds none."""
    takes = "exemplars" in kinds_of(trial.recipe)
    if not any(hasattr(plugin, "exemplars") for plugin in trial.plain.plugins):
        if takes:
            yield "it takes exemplars, but no plugin tells what it holds in a method exemplars()"
        return
    if not takes:
        yield "it holds exemplars, but has no option exemplars for how many of every class"
        return
    for size in (2, 0):
        try:
            strategy = trial.run(trial.stream, exemplars=size)
        except ConfigError:
            if size:
                raise
            continue  # a memory of nothing may be refused, in words
        predict(strategy, list(trial.stream.tasks[1].test))
        held = Counter(
            group_label(sample, trial.stream.labels)
            for plugin in strategy.plugins
            if hasattr(plugin, "exemplars")
            for sample in plugin.exemplars()
        )
        if held and max(held.values()) > size:
            yield f"it holds {max(held.values())} exemplars of one class where {size} are allowed"


def predicts_as_saved(trial: Trial) -> Iterator[str]:
    """A state that went through a file, without code, predicts what the model predicted."""
    file = io.BytesIO()
    torch.save(trial.plain.network.state_dict(), file)
    file.seek(0)
    other = trial.build(trial.stream.labels, seed=7)
    other.network.load_state_dict(torch.load(file, weights_only=True))
    samples = [s for task in trial.stream.tasks for s in task.test]
    if predict(other, samples) != predict(trial.plain, samples):
        yield "a saved and loaded model predicts something else"


def bears_poor_tasks(trial: Trial) -> Iterator[str]:
    """A class of one sample and a task of N/A alone are learnt from, or refused in a DataError."""
    first, second = trial.stream.tasks
    positive = [s for s in second.train if _is_positive(s, trial.stream.labels)]
    negative = _unlabelled(second, trial.stream).train
    for words, train in (
        ("a class of one sample", (positive[0], *negative[1:])),
        ("a task of N/A alone", negative),
    ):
        poor = replace(trial.stream, tasks=(first, replace(second, train=train)))
        try:
            strategy = trial.run(poor)
        except DataError:
            continue  # it says what the task lacks
        predict(strategy, list(second.test))
        state = weights(strategy)
        if not all(bool(torch.isfinite(v).all()) for v in state.values() if v.is_floating_point()):
            yield f"{words} leaves weights that are not finite"


def keeps_no_other_samples(trial: Trial) -> Iterator[str]:
    """Of a finished task no plugin holds samples that its ``exemplars()`` does not tell.

    Samples of the task just learnt are its data and not counted. A plugin that is no continual
    learner says so with ``keeps_every_sample = True``.
    """
    plugins = list(trial.plain.plugins)
    if any(getattr(plugin, "keeps_every_sample", False) for plugin in plugins):
        return
    finished = {sample.uid for sample in trial.stream.tasks[0].train}
    finished -= {sample.uid for sample in trial.stream.tasks[1].train}
    told = {sample.uid for p in plugins if hasattr(p, "exemplars") for sample in p.exemplars()}
    own = vars(trial.plain).keys() - attributes_of_a_strategy(trial.kind)
    for holder, held in (
        *((type(plugin).__name__, reachable_samples(plugin)) for plugin in plugins),
        ("the strategy", reachable_samples([vars(trial.plain)[name] for name in own])),
    ):
        untold = len((held & finished) - told)
        if untold:
            yield f"{holder} holds {untold} samples that it does not tell as exemplars"


def goes_on_from_checkpoints(trial: Trial) -> Iterator[str]:
    """Saved, or killed after any step, and resumed by a fresh strategy, it ends as it would have.

    What it ends as: weights, exemplars, series.
    """
    benchmark = make_benchmark(trial.stream)
    steps = trial.plain.clock.train_exp_iterations
    kills = list(dict.fromkeys(kill for kill in ((steps + 1) // 2, steps) if kill > 0))
    with TemporaryDirectory() as folder:
        trial.first.save(folder)
        again = trial.build(trial.stream.labels)
        again.resume(folder)
        again.train(benchmark.train_stream[1])
        yield from _otherwise(again, trial.plain, "saved after its first task and resumed")
        # so many that every kill is resumed from a state of its own
        asked = Checkpointing(folder, steps=max(1, steps // 4))
        for kill in [*kills, None] if kills else []:
            again = trial.build(trial.stream.labels)
            _stop(again, after=kill)
            samples = [sample for task in trial.stream.tasks for sample in task.train]
            done = again.keep_checkpoints(asked, samples=samples).trained
            with suppress(_StoppedError):
                for experience in benchmark.train_stream[done:]:
                    again.train(experience)
    if kills:
        yield from _otherwise(again, trial.plain, f"stopped in steps {kills} and resumed")


class _StoppedError(BaseException):
    """What a killed process cannot say."""


def _stop(strategy: MultimodalStrategy, *, after: int | None) -> None:
    """Let a strategy end its second task in the middle of a step.

    Not by a plugin: it must have those of the strategy whose checkpoints it goes on from.
    """
    take = strategy.optimizer_step

    def step() -> None:
        clock = strategy.clock
        if clock.train_exp_counter == 1 and clock.train_exp_iterations + 1 == after:
            raise _StoppedError
        take()

    strategy.optimizer_step = step  # type: ignore[method-assign]  # of this one alone


def _otherwise(one: MultimodalStrategy, other: MultimodalStrategy, how: str) -> Iterator[str]:
    if not same(weights(one), weights(other)):
        yield f"{how}, it has other weights"
    if exemplars_of(one) != exemplars_of(other):
        yield f"{how}, it keeps other exemplars"
    if one.traces() != other.traces():
        yield f"{how}, it has other series"


LAWS: tuple[Callable[[Trial], Iterator[str]], ...] = (
    learns_and_stays_finite,
    is_its_seeds,
    does_not_know_the_future,
    keeps_to_its_budget,
    keeps_no_other_samples,
    predicts_as_saved,
    bears_poor_tasks,
    goes_on_from_checkpoints,
)
"""The promises, each a generator of complaints."""


def _is_positive(sample: Sample, labels: LabelSpace) -> bool:
    if isinstance(sample, RelationSample):
        return sample.relation != labels.na
    return any(tag != "O" for tag in sample.tags)


def _unlabelled(task: Task, stream: TaskStream) -> Task:
    """The task with every training label taken away."""
    train = tuple(
        replace(s, relation=str(stream.labels.na))
        if isinstance(s, RelationSample)
        else replace(s, tags=("O",) * len(s.tokens))
        for s in task.train
    )
    return replace(task, train=train)


def _renamed(stream: TaskStream) -> TaskStream:
    """The stream with other names for the classes of every task but the first."""
    known = stream.tasks[0].classes
    names = {name: f"renamed-{name}" for name in stream.labels.classes if name not in known}

    def sample(of: Sample) -> Sample:
        if isinstance(of, RelationSample):
            return replace(of, relation=names.get(of.relation, of.relation))
        return replace(of, tags=tuple(tag[:2] + names.get(tag[2:], tag[2:]) for tag in of.tags))

    tasks = tuple(
        Task(
            task.name,
            tuple(names.get(name, name) for name in task.classes),
            train=tuple(map(sample, task.train)),
            valid=tuple(map(sample, task.valid)),
            test=tuple(map(sample, task.test)),
        )
        for task in stream.tasks
    )
    classes = tuple(names.get(name, name) for name in stream.labels.classes)
    return replace(stream, labels=replace(stream.labels, classes=classes), tasks=tasks)
