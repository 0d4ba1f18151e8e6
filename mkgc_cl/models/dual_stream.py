"""The dual-stream model: BERT and ViT side by side, hand in hand through a shared key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mkgc_cl.data.batch import MultimodalBatch
from mkgc_cl.data.processor import IGNORED, Processor
from mkgc_cl.data.samples import LabelSpace
from mkgc_cl.data.tokenizer import WordTokenizer
from mkgc_cl.data.views import ViewPlan
from mkgc_cl.errors import ConfigError
from mkgc_cl.models.attention import KeyShape
from mkgc_cl.models.encoders import image_side, load_text_encoder, load_vision_encoder
from mkgc_cl.models.heads import UNSEEN_LOGIT, FusionHead, GrowableCRF, HeadOutput
from mkgc_cl.models.output import ModelOutput
from mkgc_cl.models.text import TextStream
from mkgc_cl.models.vision import VisionStream, check_vit
from mkgc_cl.seeds import generator

Interaction = Literal["shared-key", "self"]
Pooling = Literal["cls", "entity-markers"]
Images = Literal["image", "crops", "image+crops"]

_CHOICES: Mapping[str, tuple[str, ...]] = {
    "interaction": get_args(Interaction),
    "key_shape": get_args(KeyShape),
    "pooling": get_args(Pooling),
}


class DualStreamModel(nn.Module):
    """Text encoder and ViT whose top layers attend through one learnable key (paper, section 4).

    Args:
        labels: the stream's classes; every output exists from the start and is masked until
            :meth:`observe` announces its class, so no run can know the future.
        text: a BERT-family encoder.
        tokenizer: its tokenizer.
        vision: a timm ViT of the same width.
        interaction: ``"shared-key"`` (eq. 10) or ``"self"`` (ordinary attention: "w/o MI").
        interaction_layers: number of top layers that interact and return their maps (paper: 3).
        key_shape: ``"per-position"``, or ``"single"`` (RELEASED CODE: inert, see
            :class:`~mkgc_cl.models.attention.SharedKeyAttention`).
        pooling: what a relation is read from: the class tokens of both streams (eq. 2) or the start
            markers of both entities and the visual class token.
        images: which pictures become tokens; ``"crops"`` is the released code's input.
        max_text_length: most tokens a post may have.
        freeze_lower: number of lowest layers of both streams, embeddings included, that do not
            train.
        dropout: probability on tagging features while training (RELEASED CODE: 0.1).
        seed: seed of every parameter that is not pretrained.

    Raises:
        ConfigError: the two encoders differ in width, or an option does not fit the encoders.
    """

    def __init__(
        self,
        labels: LabelSpace,
        *,
        text: nn.Module,
        tokenizer: WordTokenizer,
        vision: nn.Module,
        interaction: Interaction = "shared-key",
        interaction_layers: int = 3,
        key_shape: KeyShape = "per-position",
        pooling: Pooling = "cls",
        images: Images = "image",
        max_text_length: int = 128,
        freeze_lower: int = 0,
        dropout: float = 0.1,
        seed: int = 0,
    ) -> None:
        super().__init__()
        chosen = {"interaction": interaction, "key_shape": key_shape, "pooling": pooling}
        counts = {"interaction_layers": interaction_layers, "freeze_lower": freeze_lower}
        _check_options(chosen, counts)
        # a generator each, so that what one part draws does not depend on whether another is there
        source = {part: generator(seed, f"{part}-parameters") for part in ("text", "vision", "key")}
        shared = interaction == "shared-key"
        self.text = TextStream(
            text,
            interaction_layers=interaction_layers,
            shared_key=shared,
            max_length=max_text_length,
            generator=source["text"],
        )
        self.vision = VisionStream(
            vision,
            plan=_view_plan(images, vision),
            interaction_layers=interaction_layers,
            shared_key=shared,
            generator=source["vision"],
        )
        width = self.text.width
        if width != self.vision.width:
            raise ConfigError(
                [f"text width {width} and vision width {self.vision.width} differ; pair equal ones"]
            )
        positions = 1 if key_shape == "single" else max(max_text_length, self.vision.length)
        self.shared_keys = nn.ParameterList()
        for _ in range(interaction_layers if shared else 0):
            key = torch.empty(positions, width)
            nn.init.xavier_uniform_(key, generator=source["key"])
            self.shared_keys.append(nn.Parameter(key))
        self.labels = labels
        self.pooling = pooling
        outputs = len(labels.outputs)
        two_markers = labels.kind == "re" and pooling == "entity-markers"
        self.head = FusionHead(
            text_width=2 * width if two_markers else width,
            vision_width=width,
            outputs=outputs,
            seed=seed,
        )
        self.crf = GrowableCRF(outputs=outputs, seed=seed) if labels.kind == "ner" else None
        self.dropout = nn.Dropout(dropout if labels.kind == "ner" else 0.0)
        self.seen: Tensor
        self.register_buffer("seen", torch.zeros(outputs, dtype=torch.bool))
        self.text.freeze_lower(freeze_lower)
        self.vision.freeze_lower(freeze_lower)
        self.processor = Processor(
            labels,
            tokenizer=tokenizer,
            max_text_length=max_text_length,
            views=self.vision.plan,
        )

    @classmethod
    def build(
        cls,
        labels: LabelSpace,
        *,
        text: str = "tiny",
        vision: str = "tiny",
        pretrained: bool = True,
        interaction: Interaction = "shared-key",
        interaction_layers: int = 3,
        key_shape: KeyShape = "per-position",
        pooling: Pooling = "cls",
        images: Images = "image",
        max_text_length: int = 128,
        freeze_lower: int = 0,
        seed: int = 0,
    ) -> DualStreamModel:
        """Build the model from encoder names; see :mod:`mkgc_cl.models.encoders` and the class.

        ``pretrained=False`` keeps the architectures and draws their weights from ``seed``.
        """
        encoder = load_text_encoder(text, pretrained=pretrained, seed=seed)
        return cls(
            labels,
            text=encoder.module,
            tokenizer=encoder.tokenizer,
            vision=load_vision_encoder(vision, pretrained=pretrained, seed=seed),
            interaction=interaction,
            interaction_layers=interaction_layers,
            key_shape=key_shape,
            pooling=pooling,
            images=images,
            max_text_length=max_text_length,
            freeze_lower=freeze_lower,
            seed=seed,
        )

    def observe(self, classes: Sequence[str]) -> None:
        """Unmask the outputs of ``classes`` (and of N/A or ``O``)."""
        self.seen[list(self.labels.output_ids(classes))] = True

    def forward(self, batch: MultimodalBatch) -> ModelOutput:
        """Encode a batch and score it; see :class:`~mkgc_cl.models.output.ModelOutput`."""
        keys = list(self.shared_keys)
        text_mask = batch["attention_mask"]
        text, text_maps = self.text(batch["input_ids"], text_mask, keys)
        crops = [batch[f"crop_{slot}"] for slot in range(len(self.vision.plan.crop_sides))]
        vision, vision_mask, vision_maps = self.vision(
            batch.get("images"), crops, batch["crops_present"], keys
        )
        visual = vision[:, 0][batch["visual_index"]]  # (B, D)
        head = self._score(batch, text, visual)
        return ModelOutput(
            logits=head.logits,
            text_logits=head.text,
            vision_logits=head.vision,
            features=self._features(batch, text, visual),
            text_states=text,
            text_mask=text_mask,
            vision_states=vision,
            visual=visual,
            vision_mask=vision_mask,
            visual_index=batch["visual_index"],
            text_maps=tuple(scores.view_as(scores) for scores in text_maps),
            vision_maps=tuple(scores.view_as(scores) for scores in vision_maps),
            word_mask=batch.get("word_mask"),
        )

    def loss(
        self, output: ModelOutput, targets: Tensor, *, reduction: Literal["mean", "none"] = "mean"
    ) -> Tensor:
        """Task loss: cross-entropy for relations, negative CRF log-likelihood a sentence for tags.

        Args:
            output: of :meth:`forward`.
            targets: (B,) relation ids, or (B, W) tag ids padded with -100.
            reduction: mean over the batch, or one value a post (B,).
        """
        if self.crf is None:
            return F.cross_entropy(output.logits, targets, reduction=reduction)
        tags = targets.clamp(min=0)  # padding is masked; the CRF wants valid ids there all the same
        mask = targets != IGNORED
        negative: Tensor = -self.crf(output.logits, tags, mask=mask, reduction=reduction)
        return negative

    @torch.no_grad()
    def decode(self, output: ModelOutput) -> list[list[int]]:
        """Best output ids: one a post for relations, one a word (Viterbi) for tags."""
        if self.crf is None:
            return [[int(best)] for best in output.logits.argmax(dim=-1)]
        decoded: list[list[int]] = self.crf.decode(output.logits, mask=output.word_mask)
        return decoded

    def _score(self, batch: MultimodalBatch, text: Tensor, visual: Tensor) -> HeadOutput:
        """Logits of both streams, outputs not seen yet masked."""
        if self.crf is None:
            head = self.head(self._relation_text(batch, text), visual)
        else:
            starts = batch["word_starts"]
            words = text.gather(1, starts[..., None].expand(-1, -1, text.shape[-1]))  # (B, W, D)
            # PAPER: eq. (3) adds BERT's position embedding of the word to the visual class token.
            placed = visual[:, None] + self.text.positions(starts)
            head = self.head(self.dropout(words), self.dropout(placed))
        unseen = ~self.seen
        # losses and the CRF want single precision at least, whatever the encoders ran in
        exact = torch.promote_types(head.logits.dtype, torch.float32)
        return HeadOutput(*(part.to(exact).masked_fill(unseen, UNSEEN_LOGIT) for part in head))

    def _relation_text(self, batch: MultimodalBatch, text: Tensor) -> Tensor:
        if self.pooling == "cls":
            return text[:, 0]
        markers = batch["marker_positions"]
        states = text.gather(1, markers[..., None].expand(-1, -1, text.shape[-1]))
        return states.flatten(1)  # (B, 2D)

    def _features(self, batch: MultimodalBatch, text: Tensor, visual: Tensor) -> Tensor:
        """(B, F) features of the post: what the relation head reads, class tokens for tags."""
        own = self._relation_text(batch, text) if self.labels.kind == "re" else text[:, 0]
        return torch.cat([own, visual], dim=-1)


def _check_options(chosen: Mapping[str, str], counts: Mapping[str, int]) -> None:
    """Raise :class:`ConfigError` for a choice there is not or a negative count; all at once."""
    wrong = [
        f"{name}={value!r}; choose one of {list(_CHOICES[name])}"
        for name, value in chosen.items()
        if value not in _CHOICES[name]
    ]
    wrong += [f"{name}={value}; give 0 or more" for name, value in counts.items() if value < 0]
    if wrong:
        raise ConfigError(wrong)


def _view_plan(images: Images, vision: nn.Module) -> ViewPlan:
    """Sides of the pictures, in the released code's proportions (224 : 128 : 64), whole patches."""
    check_vit(vision)
    side = image_side(vision)
    patch = int(vision.patch_embed.patch_size[0])  # type: ignore[index, union-attr]
    scaled = [max(patch, round(side * part / 224 / patch) * patch) for part in (128, 64)]
    plans = {
        "image": ViewPlan(image=side),
        "crops": ViewPlan(image=0, grounding=scaled[0], detected=scaled[1]),
        "image+crops": ViewPlan(image=side, grounding=scaled[0], detected=scaled[1]),
    }
    if images not in plans:
        raise ConfigError([f"images={images!r}; choose one of {sorted(plans)}"])
    return plans[images]
