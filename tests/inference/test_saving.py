"""Models as folders: every model of the toolkit, with every readout, predicts as it did."""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path

import pytest
import torch
from torch import nn

from mkgc_cl.data.images import BLANK
from mkgc_cl.data.samples import LabelSpace, RelationSample, TaggingSample, TaskKind, VisualInput
from mkgc_cl.errors import ConfigError, DataError
from mkgc_cl.inference import Extractor, from_pretrained, save_pretrained
from mkgc_cl.inference.encoders import load_tokenizer
from mkgc_cl.models import (
    DualStreamModel,
    ExtractionModel,
    GaussianReadout,
    MEGAModel,
    MemoryAttentionReadout,
    MKGformerModel,
    PrototypeReadout,
    TextModel,
    UMGFModel,
    UMTModel,
)
from mkgc_cl.models.prototypes import Prototypes

LABELS: dict[TaskKind, LabelSpace] = {
    "re": LabelSpace("re", ("peer", "part_of", "held_on"), na="None"),
    "ner": LabelSpace("ner", ("PER", "LOC")),
}
WORDS = ("Ann", "Lee", "left", "Paris", "again")
SEEN = VisualInput(BLANK, (BLANK,) * 3, (BLANK,) * 3, caption="a man on a stage")
SAMPLES = {
    "re": RelationSample("1", WORDS, (0, 2), (3, 4), "None", SEEN),
    "ner": TaggingSample("1", WORDS, ("O",) * 5, SEEN),
}
BUILDS = {
    "text": lambda labels: TextModel.build(labels, seed=3),
    "text, softmax and layers": lambda labels: TextModel.build(
        labels, tagger="softmax", layers=(2, 3), markers="punctuation", dropout=0.5
    ),
    "text, projection": lambda labels: TextModel.build(
        labels, projection=True, head_bias=False, max_text_length=64
    ),
    "dual": lambda labels: DualStreamModel.build(labels, images="image+crops", seed=1),
    "dual, self": lambda labels: DualStreamModel.build(
        labels, interaction="self", pooling="entity-markers"
    ),
    "mega": lambda labels: MEGAModel.build(labels, alignments="semantic"),
    "mkgformer": lambda labels: MKGformerModel.build(labels, train_head=False),
    "umgf": lambda labels: UMGFModel.build(labels, width=64, layers=1, heads=2, objects=2),
    "umt": lambda labels: UMTModel.build(labels, conversion=0.25),
    "text, captions behind": lambda labels: TextModel.build(labels, captions=True),
    "text, captions beside": lambda labels: TextModel.build(
        labels, layers=(2, 3), beside="tiny", images="captions"
    ),
    "dual, captions": lambda labels: DualStreamModel.build(labels, images="captions", seed=1),
    "dual, captions shared": lambda labels: DualStreamModel.build(
        labels, images="captions", share_captions=True
    ),
    "mega, captions": lambda labels: MEGAModel.build(
        labels, images="captions", alignments="semantic"
    ),
    "mkgformer, captions": lambda labels: MKGformerModel.build(labels, images="captions"),
    "umgf, captions": lambda labels: UMGFModel.build(
        labels, images="captions", width=64, layers=1, heads=2, objects=1
    ),
    "umt, captions": lambda labels: UMTModel.build(labels, images="captions"),
}


def built(name: str, kind: TaskKind) -> ExtractionModel:
    """A model whose parameters are nobody's defaults, and which has not seen the last class."""
    model = BUILDS[name](LABELS[kind])
    _stir(model)
    model.observe(LABELS[kind].classes[:-1])
    return model.eval()


def _stir(module: nn.Module) -> None:
    source = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=source) * 0.1)


def scores(model: ExtractionModel) -> torch.Tensor:
    batch, _ = model.processor.collate([SAMPLES[model.labels.kind]])
    with torch.no_grad():
        return model.read_out(model(batch))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["re", "ner"])
@pytest.mark.parametrize("name", BUILDS)
def test_every_model_is_the_same_to_the_bit(name: str, kind: TaskKind, tmp_path: Path) -> None:
    model = built(name, kind)
    state = torch.get_rng_state()
    save_pretrained(model, tmp_path)
    again = from_pretrained(tmp_path)
    assert torch.equal(torch.get_rng_state(), state)  # nobody's draws are used up
    assert type(again) is type(model)
    assert not again.training
    mine, theirs = model.state_dict(), again.state_dict()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[key], theirs[key]) for key in mine)
    assert torch.equal(scores(model), scores(again))
    save_pretrained(again, tmp_path / "again")
    first, second = (
        json.loads((f / "config.json").read_text()) for f in (tmp_path, tmp_path / "again")
    )
    assert first == second


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["prototypes", "memory", "gaussian"])
def test_a_model_is_kept_and_used_with_its_readout(kind: str, tmp_path: Path) -> None:
    layers = (2, 3) if kind == "gaussian" else ()
    model = TextModel.build(LABELS["re"], layers=layers)
    outputs, width = model.head.rows.shape
    source = torch.Generator().manual_seed(0)
    rows = torch.randn(40, model.readout_width, generator=source)
    if kind == "gaussian":
        model.readout = GaussianReadout(LABELS["re"].outputs, width=model.readout_width)
        model.readout.add(rows, torch.arange(40) % 3)  # held_on never came
    else:
        readout = (
            PrototypeReadout(outputs=outputs, width=width, metric="cosine")
            if kind == "prototypes"
            else MemoryAttentionReadout(model.head, heads=2, key_width=8, seed=4)
        )
        known = torch.tensor([True, True, True, False])
        readout.store(Prototypes(rows[:outputs], known))
        model.readout = readout
    model.observe(["peer", "part_of"])
    model.eval()
    save_pretrained(model, tmp_path)
    again = from_pretrained(tmp_path)
    assert type(again.readout) is type(model.readout)
    assert torch.equal(scores(model), scores(again))

    class Strategy:
        network = model

    extractor = Extractor.from_strategy(Strategy(), tasks={"peer": "one"})
    expected = scores(model)[0].softmax(dim=0)
    assert not torch.equal(scores(model), model(model.processor.collate([SAMPLES["re"]])[0]).logits)
    found = extractor(SAMPLES["re"]).relations
    best = int(expected.argmax())
    assert [r.type for r in found] == ([] if best == 0 else [LABELS["re"].outputs[best]])
    if found:
        assert found[0].score == pytest.approx(float(expected[best]), rel=1e-5)
    assert extractor.relations == ("peer", "part_of")
    extractor.save(tmp_path / "x")
    kept = Extractor.load(tmp_path / "x")
    assert kept(SAMPLES["re"]) == extractor(SAMPLES["re"])
    new = RelationSample("2", WORDS, (0, 1), (3, 4), "held_on")
    if kind == "gaussian":
        assert kept.learn([new]).new == ("held_on",)
    else:
        with pytest.raises(ConfigError, match="learns no more"):
            kept.learn([new])


@pytest.mark.parametrize("name", ["text", "text, softmax and layers", "umt"])
def test_a_tagger_is_decoded_as_the_model_decodes(name: str) -> None:
    model = built(name, "ner")
    batch, _ = model.processor.collate([SAMPLES["ner"]])
    with torch.no_grad():
        (ids,) = model.decode(model(batch))
    tags = [model.labels.outputs[i] for i in ids]
    found = Extractor.from_model(model)(SAMPLES["ner"])
    begun = [(word, tag[2:]) for word, tag in enumerate(tags) if tag.startswith("B-")]
    assert [(e.start, e.type) for e in found.entities][: len(begun)] == begun


def test_weights_of_another_label_order_do_not_load(tmp_path: Path) -> None:
    labels = LABELS["re"]
    other = LabelSpace("re", labels.classes[::-1], na="None")
    model = TextModel.build(labels)
    with pytest.raises(ConfigError, match="labels would be swapped"):
        TextModel.build(other).load_state_dict(model.state_dict())
    save_pretrained(model, tmp_path)
    with pytest.raises(DataError, match="would swap them") as error:
        from_pretrained(tmp_path, labels=other)
    assert error.value.path == tmp_path / "config.json"
    assert from_pretrained(tmp_path, labels=labels).labels == labels


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": "Other"}, "expected one of"),
        ({"outputs": ["None"]}, "do not fit together"),
        ({"labels": {"kind": "re", "classes": ["a"], "na": "None"}}, "do not fit"),
        ({"options": {"width": 7}}, "no model that can be built"),
        ({"readout": {"kind": "Other"}}, "no readout of the kind"),
        ({"format": "mkgc_cl.model/9"}, "a newer version"),
        ({"tokenizer": {"kind": "pretrained"}}, "cannot be read as a tokenizer"),
    ],
)
def test_a_description_that_is_none_is_refused(
    change: dict[str, object], said: str, tmp_path: Path
) -> None:
    save_pretrained(TextModel.build(LABELS["re"]), tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DataError, match=said):
        from_pretrained(tmp_path)


def test_a_tokenizer_with_code_neither_runs_it_nor_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("builtins.input", lambda text="": asked.append(text) or "yes")
    card = {"auto_map": {"AutoTokenizer": ["evil.Tokenizer", None]}, "tokenizer_class": "Tokenizer"}
    files = {
        "vocab.txt": "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "ann"]),
        "tokenizer_config.json": json.dumps(card),
        "evil.py": f"from pathlib import Path\nPath({str(tmp_path / 'RAN')!r}).touch()\n"
        "from transformers import BertTokenizer\nclass Tokenizer(BertTokenizer):\n    pass\n",
    }
    (tmp_path / "tokenizer").mkdir()
    for name, text in files.items():
        (tmp_path / "tokenizer" / name).write_text(text)
    sums = [
        {"file": name, "sha256": hashlib.sha256(text.encode()).hexdigest()}
        for name, text in files.items()
    ]
    described = {"kind": "pretrained", "markers": "new", "marker_ids": [1] * 4, "files": sums}
    with contextlib.suppress(DataError):
        load_tokenizer(described, tmp_path)
    assert asked == []
    assert not (tmp_path / "RAN").exists()


def test_what_could_not_be_built_again_is_not_saved(tmp_path: Path) -> None:
    class Mine(TextModel):
        pass

    with pytest.raises(ConfigError, match="a Mine cannot be saved"):
        save_pretrained(Mine.build(LABELS["re"]), tmp_path)
    model = TextModel.build(LABELS["re"])
    model.text.config = None
    with pytest.raises(ConfigError, match="no 'config'"):
        save_pretrained(model, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_pretrained_encoder_comes_with_its_tokenizer(tmp_path: Path) -> None:
    for markers in ("new", "punctuation"):
        model = TextModel.build(LABELS["re"], text="minilm", markers=markers)
        model.observe(LABELS["re"].classes)
        save_pretrained(model.eval(), tmp_path / markers)
        again = from_pretrained(tmp_path / markers)
        assert again.processor.tokenizer.marker_ids == model.processor.tokenizer.marker_ids
        assert torch.equal(scores(model), scores(again))
