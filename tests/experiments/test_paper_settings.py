"""The settings of the paper build every row, with tiny encoders of the paper's architectures."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from transformers import BertConfig, BertModel

from mkgc_cl.data import LabelSpace
from mkgc_cl.experiments.pipeline import cli, plan
from mkgc_cl.experiments.pipeline.run import build_row

WIDTH = 48
LABELS = {
    "imner": LabelSpace("ner", ("PER", "LOC", "ORG", "MISC")),
    "imre": LabelSpace("re", ("/per/per/peer", "/per/org/member_of"), na="None"),
}


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Folders of a BERT and of a CLIP ViT-B/32 of 12 layers and 12 heads, but narrow ones."""
    torch.manual_seed(0)
    text = tmp_path_factory.mktemp("bert")
    words = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abc@#")
    sizes = {"hidden_size": WIDTH, "intermediate_size": 2 * WIDTH, "vocab_size": len(words)}
    BertModel(BertConfig(**sizes)).save_pretrained(text)
    (text / "vocab.txt").write_text("\n".join(words))
    vision = tmp_path_factory.mktemp("clip")
    name = "vit_base_patch32_clip_224"
    model = timm.create_model(name, embed_dim=WIDTH, num_heads=12, num_classes=0)
    save_file(model.state_dict(), vision / "model.safetensors")
    card = {
        "architecture": name,
        "num_classes": 0,
        "model_args": {"embed_dim": WIDTH, "num_heads": 12},
        "pretrained_cfg": {"num_classes": 0, "input_size": [3, 224, 224]},
    }
    (vision / "config.json").write_text(json.dumps(card))
    return str(text), str(vision)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "config"),
    [
        ("imre", "table-imre-paper"),
        ("imner", "table-imner-paper"),
        ("ablation", "ablation-imner-paper"),
    ],
)
def test_every_row_of_the_papers_setting_builds(
    encoders: tuple[str, str], script: str, config: str
) -> None:
    made = importlib.import_module(f"mkgc_cl.experiments.{script}").SCRIPT
    paper = cli.settings_of(made, cli.parse(made, ["--config", config]))
    assert paper.encoders.text == "bert-base-uncased"
    assert paper.encoders.vision == "vit_base_patch32_clip_224.openai"
    assert (paper.encoders.images, paper.stream.missing_images) == ("image+crops", "error")
    assert (paper.training.epochs, paper.training.batch_size) == (10, 2)
    argv = ["--config", config, "--text-encoder", encoders[0], "--vision-encoder", encoders[1]]
    settings = cli.settings_of(made, cli.parse(made, argv))
    rows, labels = made.known(), LABELS[settings.stream.scenario]
    for name in settings.systems:
        options = plan.options_of(settings, name, rows[name])
        strategy = build_row(rows[name], options, labels, settings, "cpu")
        assert strategy.train_mb_size == 2, name
        assert strategy.network.labels is labels
    assert Path(encoders[0]).is_dir()


@pytest.mark.parametrize(
    ("script", "config", "projections"),
    [
        ("imre", "table-imre", {"RP-CRE": 1e-3, "EMAR-BERT": 1e-3}),
        ("imre", "table-files", {"RP-CRE": 1e-3, "EMAR-BERT": 1e-3}),
        ("imner", "table-imner", {}),
    ],
)
def test_fusion_layers_learn_at_the_encoders_rate(
    script: str, config: str, projections: dict[str, float], tmp_path: Path
) -> None:
    """As UMT, UMGF, MEGA and MKGformer were published; only projections have a rate of ours."""
    made = importlib.import_module(f"mkgc_cl.experiments.{script}").SCRIPT
    tiny = ["encoders.text=tiny", "encoders.vision=tiny"]
    corpus = tmp_path / "corpus.yaml"
    corpus.write_text("{train: pairs.jsonl, test: pairs.jsonl, kind: re}")
    settings = cli.settings_of(
        made, cli.parse(made, ["--config", config, "--data", str(corpus), *tiny])
    )
    fusion, rows = ("UMT", "UMGF", "MEGA", "MKGformer"), made.known()
    found: dict[str, dict[str, float]] = {}
    for name in (*fusion, *projections):
        options = plan.options_of(settings, name, rows[name])
        strategy = build_row(rows[name], options, LABELS[script], settings, "cpu")
        for group in strategy.optimizer.param_groups:
            found.setdefault(group["role"], {})[name] = group["lr"]
    assert found["fusion"] == dict.fromkeys(fusion, settings.training.lr)
    assert found.get("projection", {}) == projections
