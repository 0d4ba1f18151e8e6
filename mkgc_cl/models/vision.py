"""The vision stream: any ViT of ``timm``, on the whole image, on crops, or on both."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mkgc_cl.data.batch import MultimodalBatch
from mkgc_cl.data.views import ViewPlan
from mkgc_cl.errors import ConfigError
from mkgc_cl.models.attention import (
    SharedKeyAttention,
    explicit_attention,
    fused_attention,
)
from mkgc_cl.models.feature_cache import EncoderDigest, FeatureCache, image_keys, structure


class VisionStream(nn.Module):
    """Run a timm ViT with shared-key attention in its top blocks.

    RELEASED CODE feeds six crops and no whole image, with position embeddings of their own for the
    crops; here that is ``ViewPlan(image=0, grounding=128, detected=64)``. Slots without a crop are
    masked (RELEASED CODE attends zero images there). Where a CNN makes the ViT's tokens
    (:class:`~mkgc_cl.models.token_source.TokenSource`), their mean is added to the class token.

    Args:
        vit: a ``timm.models.vision_transformer.VisionTransformer`` with a class token.
        plan: images used.
        interaction_layers: how many top blocks return their attention maps.
        shared_key: replace the self-key of those blocks by the shared key.
        generator: source of the initial values of bias maps and crop positions.

    Attributes:
        frozen: how many of the lowest blocks do not train.
        cache: where the states that leave them are kept by image; ``None`` encodes anew. Crops are
            always encoded: their positions train.

    Raises:
        ConfigError: the model is no such ViT, is shorter than asked for, or a crop's side is not a
            multiple of the patch side.
    """

    vit: Any
    cache: FeatureCache | None
    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        vit: nn.Module,
        *,
        plan: ViewPlan,
        interaction_layers: int,
        shared_key: bool,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        check_vit(vit)
        self.vit = vit
        self.plan = plan
        self.width = int(self.vit.embed_dim)
        self.patch = int(self.vit.patch_embed.patch_size[0])
        depth = len(self.vit.blocks)
        self.first_interaction = depth - interaction_layers
        if self.first_interaction < 0:
            raise ConfigError([f"the ViT has {depth} blocks, fewer than {interaction_layers}"])
        self.crop_tokens = tuple(self._patches(side) for side in plan.crop_sides)
        # without crops none, rather than an empty one: Avalanche's RWalk asks every parameter for
        # its largest element
        if self.crop_tokens:
            self.crop_positions = nn.Parameter(torch.empty(sum(self.crop_tokens), self.width))
            nn.init.normal_(self.crop_positions, std=0.02, generator=generator)
        self.length = self._prefix + self._image_tokens + sum(self.crop_tokens)
        for name, channel in pixel_statistics(vit).items():
            self.register_buffer(f"pixel_{name}", channel, persistent=False)
        if shared_key:
            for block in self.vit.blocks[self.first_interaction :]:
                _share_key(block.attn, self.length, generator)
        self.frozen = 0
        self.cache = None

    @property
    def trains(self) -> bool:
        """Whether all that is made of an image changes in training: there is nothing to keep."""
        return not self.frozen or bool(self.crop_tokens)

    def train(self, mode: bool = True) -> VisionStream:
        """Set the mode of what trains; in frozen blocks nothing is dropped."""
        super().train(mode)
        for block in self.vit.blocks[: self.frozen]:
            block.eval()
        return self

    @property
    def _prefix(self) -> int:
        return int(self.vit.num_prefix_tokens)

    @property
    def _image_tokens(self) -> int:
        return int(self.vit.patch_embed.num_patches) if self.plan.image else 0

    def _patches(self, side: int) -> int:
        if side % self.patch:
            raise ConfigError(
                [f"crop side {side} is not a multiple of the patch side {self.patch}"]
            )
        return (side // self.patch) ** 2

    def _normalize(self, pixels: Tensor) -> Tensor:
        return (pixels.float() / 255.0 - self.pixel_mean) / self.pixel_std

    def embed(self, images: Tensor | None, crops: list[Tensor]) -> Tensor:
        """Turn images into tokens.

        Args:
            images: (U, 3, S, S) uint8 whole images, or ``None`` if the plan leaves them out.
            crops: one (U, 3, s, s) uint8 tensor a crop slot.

        Returns:
            Tokens (U, P, D): class token, patches of the image, patches of each crop.
        """
        if images is not None:
            tokens = self.vit._pos_embed(self.vit.patch_embed(self._normalize(images)))
        else:
            count = crops[0].shape[0]
            # class token and registers, in timm's order
            prefix = (self.vit.cls_token, self.vit.reg_token)
            tokens = torch.cat([t.expand(count, -1, -1) for t in prefix if t is not None], dim=1)
            if self.vit.pos_embed is not None and not self.vit.no_embed_class:
                tokens = tokens + self.vit.pos_embed[:, : tokens.shape[1]]
        if crops:
            projected = [
                self.vit.patch_embed.norm(
                    self.vit.patch_embed.proj(self._normalize(crop)).flatten(2).transpose(1, 2)
                )
                for crop in crops
            ]
            tokens = torch.cat([tokens, torch.cat(projected, dim=1) + self.crop_positions], dim=1)
        embedded: Tensor = self.vit.norm_pre(tokens)
        return embedded

    def _embedded(
        self, images: Tensor | None, crops: list[Tensor], present: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Tokens (U, P, D) as the first block reads them, and their mask (U, P)."""
        tokens, mask = self.embed(images, crops), self.token_mask(present)
        if getattr(self.vit.patch_embed, "mean_token", False):
            there = mask[:, self._prefix :, None]
            total = (tokens[:, self._prefix :] * there).sum(dim=1, keepdim=True)
            mean = total / there.sum(dim=1, keepdim=True).clamp(min=1)
            tokens = torch.cat([tokens[:, :1] + mean, tokens[:, 1:]], dim=1)
        return tokens, mask

    def token_mask(self, present: Tensor) -> Tensor:
        """Spread (U, V) bool, true where crop slot v has an image, to tokens (U, P)."""
        count = present.shape[0]
        always = present.new_ones(count, self._prefix + self._image_tokens)
        sizes = torch.tensor(self.crop_tokens, device=present.device, dtype=torch.long)
        return torch.cat([always, present.repeat_interleave(sizes, dim=1)], dim=1)

    def forward(
        self, images: Tensor | None, crops: list[Tensor], present: Tensor, keys: list[Tensor]
    ) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """Encode the distinct visual inputs of a batch.

        Args:
            images: (U, 3, S, S) uint8, or ``None`` if the plan leaves them out.
            crops: one (U, 3, s, s) uint8 tensor a crop slot.
            present: (U, V) bool, true where crop slot v has an image.
            keys: the shared key of each interaction block, empty with self-keys.

        Returns:
            States (U, P, D), mask (U, P) and the interaction blocks' maps, each (U, H, P, P).
        """
        states, mask = self._lower(images, crops, present, self.first_interaction)
        attended = mask if crops else None
        maps = []
        for index, block in enumerate(self.vit.blocks[self.first_interaction :]):
            normed = block.norm1(states)
            shared = getattr(block.attn, "shared", None)
            if shared is not None:
                context, scores = shared(normed, attended, keys[index])
            else:
                projected = project_vision(block.attn, normed)
                context, scores = attend_vision(block.attn, projected, attended, explicit=True)
            if scores is not None:
                maps.append(scores)
            states = finish_vision_block(block, context, states)
        return self.vit.norm(states), mask, tuple(maps)

    def _lower(
        self, images: Tensor | None, crops: list[Tensor], present: Tensor, blocks: int
    ) -> tuple[Tensor, Tensor]:
        """States (U, P, D) that leave the lowest blocks, and their mask (U, P)."""
        frozen = min(self.frozen, blocks)
        if self.cache is None or images is None or crops or not frozen:
            states, mask = self._embedded(images, crops, present)
            attended = mask if crops else None  # nothing to mask without crops: the fast path
            return self._run(states, attended, slice(0, blocks)), mask
        states = self.cache.read_images(
            image_keys(images, self.pixel_mean, self.pixel_std),
            encoder=self._digest(),
            part=f"block-{frozen}",
            encode=lambda rows: self._run(
                self._embedded(images[rows], [], present[rows])[0], None, slice(0, frozen)
            ),
        ).to(images.device)
        return self._run(states, None, slice(frozen, blocks)), self.token_mask(present)

    def _run(self, states: Tensor, attended: Tensor | None, blocks: slice) -> Tensor:
        """Run blocks of ordinary attention on states (U, P, D)."""
        for block in self.vit.blocks[blocks]:
            projected = project_vision(block.attn, block.norm1(states))
            context, _ = attend_vision(block.attn, projected, attended, explicit=False)
            states = finish_vision_block(block, context, states)
        return states

    def read(
        self, batch: MultimodalBatch, keys: list[Tensor]
    ) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """Encode the distinct visual inputs of a batch; see :meth:`forward`."""
        found: tuple[Tensor, Tensor, tuple[Tensor, ...]] = self(
            batch.images, self._crops(batch), batch.crops_present, keys
        )
        return found

    def _crops(self, batch: MultimodalBatch) -> list[Tensor]:
        return [batch[f"crop_{slot}"] for slot in range(len(self.plan.crop_sides))]

    # ---- one block at a time, as prefix fusion runs it ----

    @property
    def blocks(self) -> Any:
        """The blocks."""
        return self.vit.blocks

    def lower(self, batch: MultimodalBatch, blocks: int) -> tuple[Tensor, Tensor]:
        """States (U, P, D) that leave the lowest ``blocks`` blocks, and their mask (U, P)."""
        return self._lower(batch.images, self._crops(batch), batch.crops_present, blocks)

    def project(self, block: Any, states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value of a block, each (U, H, P, D/H)."""
        return project_vision(block.attn, block.norm1(states))

    def attend(self, block: Any, parts: tuple[Tensor, Tensor, Tensor], mask: Tensor) -> Tensor:
        """Context (U, P, D) of a block's attention over keys and values that may be longer."""
        return attend_vision(block.attn, parts, mask, explicit=False)[0]

    def finish(self, block: Any, context: Tensor, states: Tensor) -> Tensor:
        """States (U, P, D) that leave a block."""
        return finish_vision_block(block, context, states)

    def freeze_lower(self, layers: int) -> None:
        """Stop training the patch embedding and the lowest ``layers`` blocks.

        Raises:
            ConfigError: there are fewer.
        """
        blocks = len(self.vit.blocks)
        if layers > blocks:
            raise ConfigError([f"freeze_lower={layers}; the vision encoder has {blocks} blocks"])
        if layers > 0:
            for part in (self.vit.patch_embed, self.vit.norm_pre, *self.vit.blocks[:layers]):
                part.requires_grad_(False)
            tables = (self.vit.cls_token, self.vit.reg_token, self.vit.pos_embed)
            for table in tables:
                if table is not None:
                    table.requires_grad_(False)
            # where blocks interact, more than images goes into them
            self.frozen = min(layers, self.first_interaction)
            below = nn.ModuleList(
                [
                    self.vit.patch_embed,
                    self.vit.norm_pre,
                    nn.ParameterList(table for table in tables if table is not None),
                    *self.vit.blocks[: self.frozen],
                ]
            )
            self._digest = EncoderDigest(below, [*structure(below), structure(self.vit)[0]])
            self.train(self.training)


def pixel_statistics(encoder: nn.Module) -> dict[str, Tensor]:
    """``mean`` and ``std`` (3, 1, 1) that a timm model's weights expect of pixels in 0 ... 1."""
    normal = dict(getattr(encoder, "pretrained_cfg", None) or {})
    return {
        name: torch.tensor(normal.get(name) or (0.5,) * 3).view(3, 1, 1) for name in ("mean", "std")
    }


def check_vit(vit: nn.Module) -> None:
    """Raise :class:`ConfigError` unless ``vit`` is a plain timm ViT with a class token."""
    from timm.models.vision_transformer import Block, VisionTransformer

    if not isinstance(vit, VisionTransformer) or vit.cls_token is None:
        raise ConfigError([f"{type(vit).__name__} is not a timm ViT with a class token; use one"])
    if getattr(vit, "dist_token", None) is not None:
        raise ConfigError([f"{type(vit).__name__} has a distillation token; use one without"])
    block: Any = vit.blocks[0]
    if not isinstance(block, Block):
        raise ConfigError([f"{type(block).__name__} in the ViT is not supported; use a plain one"])
    attention: Any = block.attn
    if not isinstance(getattr(attention, "qkv", None), nn.Linear):
        raise ConfigError([f"attention {type(attention).__name__} of the ViT has no fused qkv"])
    if getattr(attention, "gate", None) is not None:
        raise ConfigError(["gated attention of the ViT is not supported; use an ungated one"])
    if not isinstance(attention.q_norm, nn.Identity):
        raise ConfigError(["query normalization of the ViT is not supported; use a plain one"])


def _share_key(attention: Any, length: int, generator: torch.Generator) -> None:
    """Give a timm attention shared-key attention that keeps its query and value weights."""
    width = attention.qkv.in_features
    parts = []
    for third in (0, 2):  # timm stacks query, key, value in this order
        # skip_init: a Linear about to be overwritten must not draw from the global generator
        part = nn.utils.skip_init(nn.Linear, width, width, bias=attention.qkv.bias is not None)
        rows = slice(third * width, (third + 1) * width)
        part.weight = nn.Parameter(attention.qkv.weight.detach()[rows].clone())
        if attention.qkv.bias is not None:
            part.bias = nn.Parameter(attention.qkv.bias.detach()[rows].clone())
        parts.append(part)
    attention.shared = SharedKeyAttention(
        parts[0],
        parts[1],
        heads=attention.num_heads,
        max_length=length,
        dropout=attention.attn_drop.p,
        generator=generator,
    )
    del attention.qkv


def project_vision(attention: Any, states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key and value of a timm attention, each (U, H, P, D/H) of normed states (U, P, D)."""
    batch, length, _ = states.shape
    stacked = attention.qkv(states).view(batch, length, 3, attention.num_heads, attention.head_dim)
    query, key, value = stacked.permute(2, 0, 3, 1, 4).unbind(0)
    return attention.q_norm(query), attention.k_norm(key), value


def attend_vision(
    attention: Any,
    projected: tuple[Tensor, Tensor, Tensor],
    mask: Tensor | None,
    *,
    explicit: bool,
) -> tuple[Tensor, Tensor | None]:
    """Ordinary attention of a timm block.

    Args:
        attention: the block's ``attn``.
        projected: query (U, H, P, D/H), key and value (U, H, N, D/H): of :func:`project_vision`,
            where N is P, or longer with keys and values from elsewhere.
        mask: (U, N) bool, true on positions that may be attended; ``None`` for all.
        explicit: return the map too.

    Returns:
        Context (U, P, D) before the output projection and, if explicit, the map (U, H, P, N).
    """
    query, key, value = projected
    dropout = attention.attn_drop.p if attention.training else 0.0
    if not explicit:
        return fused_attention(query, key, value, mask, dropout), None
    scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
    return explicit_attention(scores, value, mask, dropout), scores


def finish_vision_block(block: Any, context: Tensor, states: Tensor) -> Tensor:
    """Output projection and feed-forward of a timm block.

    Args:
        block: the block.
        context: (U, P, D) of its attention.
        states: (U, P, D) that went into the block.

    Returns:
        States (U, P, D) that leave the block.
    """
    projected = block.attn.proj_drop(block.attn.proj(block.attn.norm(context)))
    states = states + block.drop_path1(block.ls1(projected))
    finished: Tensor = states + block.drop_path2(block.ls2(block.mlp(block.norm2(states))))
    return finished
