"""The attention memory network of RP-CRE: a sample looks at the prototypes before it is scored."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mkgc_cl._checks import at_least, require
from mkgc_cl.models.heads import FusionHead, LinearHead, spread
from mkgc_cl.models.output import ModelOutput
from mkgc_cl.models.prototypes import PrototypeMemory
from mkgc_cl.seeds import generator, seeded


class MemoryAttentionReadout(PrototypeMemory):
    """Refine features by attention over prototypes, then score them with the model's head.

    Cui et al. 2021, section 3.4: self-attention over ``[p_1 ... p_n; x]``, of which only the row of
    x is needed; layer norms on queries, keys and values (over the heads of a row together), on what
    comes out of the heads, and after both residual sums; one linear layer with GELU between those.

    There is room for a prototype of every output from the start, and only those that are known take
    part, so a saved state loads with no surgery and what is to come has no influence. Before any
    prototype is stored, the head alone predicts.

    Args:
        head: the model's head.
        heads: attention heads.
        key_width: width of queries and keys of a head.
        value_width: width of values of a head; the features' by default.
        seed: seed of the parameters.

    Raises:
        ConfigError: a number is below 1.
    """

    def __init__(
        self,
        head: FusionHead | LinearHead,
        *,
        heads: int = 4,
        key_width: int = 256,
        value_width: int | None = None,
        seed: int = 0,
    ) -> None:
        outputs, width = head.rows.shape
        value_width = width if value_width is None else value_width
        given = {"heads": heads, "key_width": key_width, "value_width": value_width}
        require(*(at_least(name, number, 1) for name, number in given.items()))
        super().__init__(outputs=outputs, width=width)
        # in a tuple, so that the head stays the model's: it is saved and optimized there, once
        self._head = (head,)
        self._heads = heads
        with seeded(seed, "memory-network"):  # for what the layers draw before reset()
            self.query = nn.Linear(width, heads * key_width)
            self.key = nn.Linear(width, heads * key_width)
            self.value = nn.Linear(width, heads * value_width)
            self.merge = nn.Linear(heads * value_width, width)
            self.refine = nn.Linear(width, width)
        self.query_norm = nn.LayerNorm([heads, key_width])
        self.key_norm = nn.LayerNorm([heads, key_width])
        self.value_norm = nn.LayerNorm([heads, value_width])
        self.merge_norm = nn.LayerNorm(width)
        self.attended_norm = nn.LayerNorm(width)
        self.refined_norm = nn.LayerNorm(width)
        self.reset(generator(seed, "memory-network"))

    @property
    def sizes(self) -> dict[str, int]:
        """Sizes that it was built with."""
        key, value = (part.out_features // self._heads for part in (self.key, self.value))
        return {"heads": self._heads, "key_width": key, "value_width": value}

    @torch.no_grad()
    def reset(self, source: torch.Generator) -> None:
        """Draw every parameter of the network anew; the prototypes stay."""
        for layer in (self.query, self.key, self.value, self.merge, self.refine):
            bound = layer.in_features**-0.5  # the range nn.Linear uses
            for parameter in (layer.weight, layer.bias):
                # drawn on the CPU: the same numbers on every device
                drawn = torch.empty(parameter.shape).uniform_(-bound, bound, generator=source)
                parameter.copy_(drawn)
        for module in self.children():
            if isinstance(module, nn.LayerNorm):
                module.reset_parameters()

    def attend(self, features: Tensor, prototypes: Tensor) -> Tensor:
        """Refine features (B, F) by looking at prototypes (N, F): (B, F)."""
        query = self.query_norm(self._split(self.query(features)))  # (B, H, K)
        # every sample sees the same prototypes, and besides them itself alone
        keys = self.key_norm(self._split(self.key(prototypes)))  # (N, H, K)
        own_key = self.key_norm(self._split(self.key(features)))  # (B, H, K)
        values = self.value_norm(self._split(self.value(prototypes)))  # (N, H, V)
        own_value = self.value_norm(self._split(self.value(features)))  # (B, H, V)
        on_prototypes = torch.einsum("bhk,nhk->bhn", query, keys)
        on_itself = (query * own_key).sum(dim=-1, keepdim=True)  # (B, H, 1)
        scores = torch.cat([on_prototypes, on_itself], dim=-1) / query.shape[-1] ** 0.5
        weights = scores.softmax(dim=-1)  # (B, H, N + 1)
        read = torch.einsum("bhn,nhv->bhv", weights[..., :-1], values)
        read = read + weights[..., -1:] * own_value
        attended = self.attended_norm(features + self.merge_norm(self.merge(read.flatten(1))))
        refined: Tensor = self.refined_norm(attended + F.gelu(self.refine(attended)))
        return refined

    def forward(self, output: ModelOutput) -> Tensor:
        """Score a batch's features (B, F): (B, C)."""
        if not bool(self.known.any()):
            return output.logits
        features = output.features.to(self.prototypes.dtype)
        (head,) = self._head
        # unseen slots are left out rather than masked: no number in them can reach the result
        refined = self.attend(features, self.prototypes[self.known])
        rows, bias, seen = head.rows, head.bias, output.seen
        if seen is None:
            seen = torch.arange(len(rows), device=rows.device)
        scores = refined @ rows.index_select(0, seen).T
        if bias is not None:
            scores = scores + bias.index_select(0, seen)
        return spread(scores, seen, outputs=len(rows))

    def _split(self, projected: Tensor) -> Tensor:
        return projected.reshape(*projected.shape[:-1], self._heads, -1)
