"""Heads: linear layers over one or two streams, a CRF for tags, and the grammar of BIO tags.

A matrix product, a softmax, a CRF's normalizer: each is over the outputs seen so far alone. Masked
ones would add nothing but zeros, yet their number changes in which order the others are added, and
with that the last bits of every weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torchcrf import CRF

from mkgc_cl.seeds import generator

# Finite, so that a CRF's log-sum-exp and a softmax both stay free of NaN.
UNSEEN_LOGIT = -1e4


def spread(scores: Tensor, seen: Tensor, *, outputs: int) -> Tensor:
    """Put scores (..., K) of the outputs ``seen`` (K,) where they belong: (..., C), others masked.

    >>> spread(torch.tensor([[1.0, 2.0]]), torch.tensor([0, 2]), outputs=3).tolist()
    [[1.0, -10000.0, 2.0]]
    """
    masked = scores.new_full((*scores.shape[:-1], outputs), UNSEEN_LOGIT)
    return masked.index_copy(-1, seen, scores)


def log_probabilities(logits: Tensor, seen: Tensor | None) -> Tensor:
    """Log-softmax of logits (..., C) over the outputs ``seen`` (K,): (..., C), others masked.

    >>> log_probabilities(torch.zeros(3), torch.tensor([0, 2])).exp().tolist()
    [0.5, 0.0, 0.5]
    """
    if seen is None:
        return logits.log_softmax(dim=-1)
    among = logits.index_select(-1, seen).log_softmax(dim=-1)
    return spread(among, seen, outputs=logits.shape[-1])


class HeadOutput(NamedTuple):
    """Logits of both streams together and of each alone, shape (..., C)."""

    logits: Tensor
    text: Tensor
    vision: Tensor


class FusionHead(nn.Module):
    """One linear layer over the two streams' features: ``W [h^t ; h^v] + b``.

    The logits are the sum of what each stream contributes with half of the bias (eq. 5), so the
    contribution ratio of the modulation reads them off without a second product.

    Args:
        text_width: width of the text features.
        vision_width: width of the vision features.
        outputs: number of outputs C.
        seed: seed of the initial rows.
    """

    def __init__(self, *, text_width: int, vision_width: int, outputs: int, seed: int) -> None:
        super().__init__()
        weight = output_rows(text_width + vision_width, outputs=outputs, seed=seed)
        self.text_weight = nn.Parameter(weight[:, :text_width].clone())
        self.vision_weight = nn.Parameter(weight[:, text_width:].clone())
        self.bias = nn.Parameter(torch.zeros(outputs))

    @property
    def rows(self) -> Tensor:
        """One row an output over the features of both streams: (C, D_t + D_v)."""
        return torch.cat([self.text_weight, self.vision_weight], dim=1)

    def forward(self, text: Tensor, vision: Tensor, outputs: Tensor | None = None) -> HeadOutput:
        """Score features (..., D_t) and (..., D_v): (..., C), or (..., K) of ``outputs`` (K,)."""
        weights = (self.text_weight, self.vision_weight, self.bias)
        text_weight, vision_weight, bias = (_rows(weight, outputs) for weight in weights)
        half = bias / 2
        from_text = text @ text_weight.T + half
        from_vision = vision @ vision_weight.T + half
        return HeadOutput(from_text + from_vision, from_text, from_vision)


class LinearHead(nn.Module):
    """One linear layer over one feature vector: ``W h + b``.

    Args:
        width: width F of the features.
        outputs: number of outputs C.
        seed: seed of the initial rows.
        bias: have b; without it the score is ``W h``.
    """

    def __init__(self, *, width: int, outputs: int, seed: int, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(output_rows(width, outputs=outputs, seed=seed))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None

    @property
    def rows(self) -> Tensor:
        """One row an output: (C, F)."""
        return self.weight

    def forward(self, features: Tensor, outputs: Tensor | None = None) -> Tensor:
        """Score features (..., F): (..., C), or (..., K) of ``outputs`` (K,)."""
        scores = features @ _rows(self.weight, outputs).T
        return scores if self.bias is None else scores + _rows(self.bias, outputs)


def _rows(weight: Tensor, outputs: Tensor | None) -> Tensor:
    return weight if outputs is None else weight.index_select(0, outputs)


def output_rows(width: int, *, outputs: int, seed: int) -> Tensor:
    """Draw a head's weight (outputs, width).

    The row of output c depends on the seed and on c alone: adding classes that have not come yet
    changes nothing for the ones that have.
    """
    rows = []
    for index in range(outputs):
        row = torch.empty(width)
        bound = width**-0.5  # the range nn.Linear uses
        nn.init.uniform_(row, -bound, bound, generator=generator(seed, f"head/{index}"))
        rows.append(row)
    return torch.stack(rows)


class GrowableCRF(CRF):
    """torchcrf's linear-chain CRF whose initial scores of a tag do not depend on later tags.

    Args:
        outputs: number of tags.
        seed: seed of the initial transition scores, uniform in [-0.1, 0.1].
    """

    def __init__(self, *, outputs: int, seed: int) -> None:
        self._seed = seed
        super().__init__(outputs, batch_first=True)

    def reset_parameters(self) -> None:
        """Draw start, end and transition scores tag by tag."""
        with torch.no_grad():
            for tag in range(self.num_tags):
                values = torch.empty(2 * tag + 3)
                source = generator(self._seed, f"crf/{tag}")
                nn.init.uniform_(values, -0.1, 0.1, generator=source)
                self.start_transitions[tag] = values[0]
                self.end_transitions[tag] = values[1]
                self.transitions[tag, : tag + 1] = values[2 : tag + 3]
                self.transitions[:tag, tag] = values[tag + 3 :]

    def log_likelihood(
        self, emissions: Tensor, tags: Tensor, *, mask: Tensor, seen: Tensor | None = None
    ) -> Tensor:
        """Log-likelihood (B,) of each sentence's tags among all sequences of tags seen so far.

        Args:
            emissions: (B, W, C) scores.
            tags: (B, W) ids of tags, whatever they are where the mask is false.
            mask: (B, W) bool, true on real words.
            seen: (K,) ids of the tags that sequences are made of; all by default, and where there
                is none.
        """
        if seen is None or not len(seen):
            return cast(Tensor, self(emissions, tags, mask=mask, reduction="none"))
        words, steps = emissions.transpose(0, 1), mask.transpose(0, 1)
        path: Tensor = self._compute_score(words, tags.transpose(0, 1), steps)
        chain = _Restricted(self, seen)
        return path - cast(Tensor, chain._compute_normalizer(words.index_select(-1, seen), steps))


class _Restricted(CRF):
    """A CRF of some tags of another one, its scores the same tensors: gradients reach them."""

    def __init__(self, whole: CRF, tags: Tensor) -> None:
        nn.Module.__init__(self)
        self.num_tags = len(tags)
        self.batch_first = True
        self.start_transitions = whole.start_transitions.index_select(0, tags)
        self.end_transitions = whole.end_transitions.index_select(0, tags)
        self.transitions = whole.transitions.index_select(0, tags).index_select(1, tags)


class BioGrammar(CRF):
    """Viterbi decoding of tag scores under the grammar of BIO: ``I-X`` follows ``B-X`` or ``I-X``.

    A linear-chain CRF whose scores are fixed: 0 where a tag may follow, as good as minus infinity
    where it may not (Monaikul et al. 2021 decode so; nothing is learnt).

    Args:
        tags: names of the outputs (``O``, ``B-X``, ``I-X``, ...).
    """

    def __init__(self, tags: Sequence[str]) -> None:
        self._tags = tuple(tags)
        super().__init__(len(tags), batch_first=True)
        self.requires_grad_(False)

    def reset_parameters(self) -> None:
        """Write the grammar."""
        with torch.no_grad():
            for scores in (self.start_transitions, self.end_transitions, self.transitions):
                scores.zero_()
            for index, tag in enumerate(self._tags):
                if not tag.startswith("I-"):
                    continue
                self.start_transitions[index] = UNSEEN_LOGIT
                allowed = {tag, f"B-{tag[2:]}"}
                for before, name in enumerate(self._tags):
                    if name not in allowed:
                        self.transitions[before, index] = UNSEEN_LOGIT
