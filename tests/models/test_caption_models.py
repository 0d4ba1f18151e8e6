"""Models that read captions where others look at images."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from PIL import Image

from mkgc_cl.data import LabelSpace, RelationSample, TaggingSample, VisualInput
from mkgc_cl.data.images import BLANK
from mkgc_cl.errors import ConfigError
from mkgc_cl.models import (
    DualStreamModel,
    MEGAModel,
    MKGformerModel,
    TextModel,
    UMGFModel,
    UMTModel,
)
from mkgc_cl.models.captions import CaptionEncoder
from mkgc_cl.models.encoders import load_text_encoder
from mkgc_cl.models.layer_features import word_parts

LABELS = {"ner": LabelSpace("ner", ("A",)), "re": LabelSpace("re", ("A",), na="None")}
FAMILIES: dict[str, tuple[Any, dict[str, Any]]] = {
    "dual": (DualStreamModel, {}),
    "dual, shared": (DualStreamModel, {"share_captions": True}),
    "MKGformer": (MKGformerModel, {}),
    "UMT": (UMTModel, {}),
    "UMGF": (UMGFModel, {"width": 16, "layers": 1, "heads": 2}),
    "MEGA": (MEGAModel, {"alignments": "semantic"}),
}


def sample(kind: str, caption: str, uid: str = "s") -> Any:
    visual = VisualInput(caption=caption)
    if kind == "ner":
        return TaggingSample(uid, ("a", "b"), ("B-A", "O"), visual)
    return RelationSample(uid, ("a", "b"), (0, 1), (1, 2), "A", visual)


def built(name: str, kind: str) -> Any:
    family, options = FAMILIES[name]
    model = family.build(LABELS[kind], text="tiny", images="captions", seed=0, **options)
    model.observe(["A"])
    return model.eval()


@pytest.mark.parametrize("kind", ["ner", "re"])
@pytest.mark.parametrize("name", FAMILIES)
def test_what_a_caption_says_matters_and_padding_does_not(name: str, kind: str) -> None:
    model = built(name, kind)

    def logits(*captions: str) -> torch.Tensor:
        samples = [sample(kind, caption, str(row)) for row, caption in enumerate(captions)]
        batch, _ = model.processor.collate(samples)
        with torch.no_grad():
            scores: torch.Tensor = model(batch).logits
        return scores

    both = logits("a dog on a stage", "a cat")
    torch.testing.assert_close(logits("a cat")[0], both[1])
    assert not torch.allclose(both[0], both[1])
    if name in ("UMGF", "MEGA", "UMT"):  # a caption that says nothing takes no part
        assert torch.isfinite(logits("")).all()


def test_gradients_reach_both_streams_and_the_shared_key() -> None:
    model = built("dual", "re").train()
    batch, targets = model.processor.collate([sample("re", "a dog")])
    output = model(batch)
    assert output.vision_maps[0].shape[-1] == model.processor.views.caption
    model.loss(output, targets).backward()
    for part in (model.text, model.vision, model.shared_keys):
        assert any(p.grad is not None and bool(p.grad.any()) for p in part.parameters())


def test_shared_weights_are_one_and_bias_maps_two() -> None:
    model = copy.deepcopy(built("dual, shared", "re"))  # as a teacher is copied
    text, vision = (dict(part.named_parameters()) for part in (model.text, model.vision))
    own = {name for name in vision if vision[name] is not text[name]}
    assert own == {f"layers.{layer}.attention.self.bias" for layer in (1, 2, 3)}
    with pytest.raises(ConfigError, match="share_captions"):
        DualStreamModel.build(LABELS["re"], share_captions=True)


def test_a_caption_encoder_gives_what_its_encoder_gives() -> None:
    """Oracle: the encoder as transformers runs it."""
    encoder: Any = load_text_encoder("tiny").module
    reader = CaptionEncoder(encoder).eval()
    model = built("UMT", "ner")
    batch, _ = model.processor.collate([sample("ner", "a dog", "1"), sample("ner", "", "2")])
    ids, mask = batch["caption_ids"], batch["caption_mask"]
    expected = encoder.eval()(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    grid, words = reader.grid_of(batch)
    torch.testing.assert_close(grid[mask], expected[mask])
    assert words.sum(dim=1).tolist() == [2, 0]
    vectors, present = reader.objects_of(batch)
    torch.testing.assert_close(vectors[:, 0], expected[:, 0])
    assert present.tolist() == [[True], [False]]


def test_a_text_model_reads_the_caption_behind_the_text() -> None:
    model = TextModel.build(LABELS["ner"], text="tiny", captions=True, layers=[4])
    model.observe(["A"])
    model.eval()
    samples = [sample("ner", "a dog", "1"), sample("ner", "", "2")]
    batch, _ = model.processor.collate(samples)
    with torch.no_grad():
        output = model(batch)
    assert not torch.allclose(output.logits[0], output.logits[1])
    # the last word ends where the text does
    numbers = torch.arange(batch["input_ids"].shape[1], dtype=torch.float)
    parts = word_parts(batch, numbers[None, :, None].expand(2, -1, 1))
    assert parts.tolist() == [[[1, 1], [2, 2]]] * 2


def test_a_vision_encoder_reads_no_captions() -> None:
    with pytest.raises(ConfigError, match="text encoder"):
        DualStreamModel.build(LABELS["re"], vision="vit-384", images="captions")


@pytest.mark.parametrize("kind", ["ner", "re"])
def test_a_readout_reads_captions_beside_the_text(kind: str) -> None:
    options = {"text": "tiny", "layers": [4], "beside": "tiny", "images": "captions"}
    model = TextModel.build(LABELS[kind], **options)  # type: ignore[arg-type]
    alone = TextModel.build(LABELS[kind], text="tiny", layers=[4])
    model.eval()
    alone.eval()
    batch, _ = model.processor.collate([sample(kind, "a dog", "1"), sample(kind, "", "2")])
    with torch.no_grad():
        features, text = model(batch).layer_features, alone(batch).layer_features
    assert features.shape[-1] == model.readout_width == alone.readout_width + 64
    torch.testing.assert_close(features[..., :-64], text)
    seen = features[..., -64:]
    assert bool(seen[0].any())
    assert not bool(seen[1].any())  # no caption
    assert not any(p.requires_grad for p in model.vision.parameters())  # type: ignore[union-attr]


class Red:
    """An image of one color."""

    key = "red"

    def read(self) -> Image.Image:
        return Image.new("RGB", (32, 32), "red")

    def fingerprint(self) -> str:
        return self.key


def test_a_readout_reads_images_beside_the_text() -> None:
    model = TextModel.build(LABELS["re"], text="tiny", layers=[4], beside="tiny").eval()
    samples = [
        RelationSample(str(row), ("a", "b"), (0, 1), (1, 2), "A", VisualInput(image))
        for row, image in enumerate((Red(), BLANK))
    ]
    batch, _ = model.processor.collate(samples)
    with torch.no_grad():
        features: Any = model(batch).layer_features
    assert bool(features[0, -64:].any())
    assert not bool(features[1, -64:].any())
    with pytest.raises(ConfigError, match="give layers"):
        TextModel.build(LABELS["re"], text="tiny", beside="tiny")
