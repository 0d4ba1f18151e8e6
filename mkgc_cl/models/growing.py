"""A model for a stream that has grown takes what one for the shorter stream has learnt."""

from __future__ import annotations

from torch import Tensor

from mkgc_cl.errors import ConfigError
from mkgc_cl.models.base import ExtractionModel


def load_grown(model: ExtractionModel, learnt: ExtractionModel) -> None:
    """Copy every weight of ``learnt`` into ``model``, whose label space begins with that of it.

    Rows of outputs that are new stay as they were drawn. They depend on the seed and the output
    alone, so that ``model`` goes on just as if it had been built for all classes from the start.

    Args:
        model: built as ``learnt`` was, for the labels of the grown stream.
        learnt: what the first tasks have trained.

    Raises:
        ConfigError: the labels of ``learnt`` are not the first ones of ``model``, the models are
            not built alike, or one has a readout, which is learnt anew.
    """
    ours, theirs = model.labels, learnt.labels
    first = ours.outputs[: len(theirs.outputs)]
    if first != theirs.outputs:
        raise ConfigError(
            [
                f"the labels {theirs.outputs} are not the first ones of {ours.outputs}; "
                "build the model for a grown stream"
            ]
        )
    if model.readout is not None or learnt.readout is not None:
        raise ConfigError(["a model with a readout cannot be grown; its readout is learnt anew"])
    state, old = model.state_dict(), learnt.state_dict()
    wrong = sorted(state.keys() ^ old.keys())
    wrong += [name for name in state.keys() & old.keys() if not _fits(state[name], old[name])]
    if wrong:
        raise ConfigError(
            [f"the models are not built alike; they differ in {', '.join(wrong[:5])}"]
        )
    for name, tensor in old.items():
        if name.endswith("_extra_state"):
            continue  # the names of the outputs: the larger model's are right, and begin alike
        state[name] = state[name].clone()
        state[name][tuple(slice(size) for size in tensor.shape)] = tensor
    model.load_state_dict(state)


def _fits(new: Tensor, old: Tensor) -> bool:
    return new.dim() == old.dim() and all(a >= b for a, b in zip(new.shape, old.shape, strict=True))
