"""What decides after head and readout: a prior, and a branch on a frozen encoder."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from mkgc_cl.data.samples import LabelSpace, RelationSample, TaggingSample
from mkgc_cl.errors import ConfigError
from mkgc_cl.models import GaussianReadout, TextModel
from mkgc_cl.models.branch import GaussianBranch
from mkgc_cl.models.prior import PriorCorrection

LABELS = {
    "re": LabelSpace("re", ("peer", "part_of"), na="None"),
    "ner": LabelSpace("ner", ("PER",)),
}
SAMPLES = {
    "re": [RelationSample("a", ("Ann", "met", "Bo"), (0, 1), (2, 3), "peer")],
    "ner": [TaggingSample("a", ("Ann", "met", "Bo"), ("B-PER", "O", "B-PER"))],
}


def branched(kind: Any, weight: float) -> tuple[TextModel, TextModel, GaussianReadout, Any]:
    """A model with a branch that was taught noise, its frozen encoder, readout, and a batch."""
    labels = LABELS[kind]
    model = TextModel.build(labels, text="tiny", tagger="softmax")
    model.observe(labels.classes[:1])
    frozen = TextModel.build(
        labels, text="tiny", tagger="softmax", layers=(2, 4), markers="punctuation", seed=0
    )
    readout = GaussianReadout(labels.outputs, width=frozen.readout_width)
    markers = (m.processor.tokenizer.marker_ids for m in (model, frozen))
    branch = GaussianBranch(
        frozen, readout, weight=weight, markers=dict(zip(*markers, strict=True))
    )
    branch.attach(model)
    source = torch.Generator().manual_seed(1)
    features = torch.randn(40, frozen.readout_width, generator=source)
    readout.add(features, torch.arange(40) % 2)
    return model.eval(), frozen, readout, model.processor.collate(SAMPLES[kind])[0]


@pytest.mark.parametrize("kind", ["re", "ner"])
@torch.no_grad()
def test_a_branch_weighs_two_answers(kind: Any) -> None:
    """The frozen encoder reads the sample as a model of its own would."""
    model, frozen, readout, batch = branched(kind, 0.3)
    output = model(batch)
    own = frozen(frozen.processor.collate(SAMPLES[kind])[0]).layer_features
    assert torch.equal(output.layer_features, own)
    seen = model.seen_ids
    mine = output.logits[..., seen].double().log_softmax(dim=-1)
    wanted = 0.3 * readout.log_posterior(own)[..., seen] + 0.7 * mine
    assert torch.allclose(model.read_out(output)[..., seen], wanted)
    assert (model.read_out(output)[..., ~model.seen] < -9e3).all()


@torch.no_grad()
def test_before_it_is_taught_the_model_decides_alone() -> None:
    model, _, readout, batch = branched("re", 0.5)
    empty = readout.no_samples()
    for name in ("counts", "means", "scatter"):
        getattr(readout, name).copy_(getattr(empty, name))
    output = model(batch)
    assert torch.equal(model.read_out(output), output.logits)


def test_it_does_not_train_and_a_copy_has_its_own() -> None:
    model, frozen, _, batch = branched("re", 0.5)
    assert not any(p.requires_grad for p in frozen.parameters())
    assert not model.train().decisions[0].frozen.training
    assert model(batch).layer_features is None
    again = copy.deepcopy(model).eval()
    with torch.no_grad():
        for parameter in frozen.parameters():
            parameter.zero_()
        whole, gone = again(batch).layer_features, model.eval()(batch).layer_features
    assert whole.abs().max() > 0
    assert not torch.allclose(whole, gone)


def test_what_does_not_fit_is_said() -> None:
    model, frozen, readout, _ = branched("ner", 0.5)
    with pytest.raises(ConfigError, match=r"weight=1.5; give 0 to 1"):
        GaussianBranch(frozen, readout, weight=1.5, markers={})
    crf = TextModel.build(LABELS["ner"], text="tiny", tagger="crf")
    with pytest.raises(ConfigError, match="with tagger='softmax'"):
        model.decisions[0].attach(crf)


@torch.no_grad()
def test_a_prior_is_added_and_saved() -> None:
    labels = LABELS["re"]
    model = TextModel.build(labels, text="tiny").eval()
    model.observe(labels.classes)
    model.decisions.append(PriorCorrection(3))
    model.decisions[0].shift.copy_(torch.tensor([1.0, -1.0, 0.0]))
    output = model(model.processor.collate(SAMPLES["re"])[0])
    wanted = output.logits + torch.tensor([1.0, -1.0, 0.0])
    assert torch.allclose(model.read_out(output), wanted)
    assert "decisions.0.shift" in model.state_dict()
