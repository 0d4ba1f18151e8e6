"""Heads: linear layers over one or two streams, a CRF for tags, and the grammar of BIO tags."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torchcrf import CRF

from mkgc_cl.seeds import generator

# Finite, so that a CRF's log-sum-exp and a softmax both stay free of NaN.
UNSEEN_LOGIT = -1e4


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

    def forward(self, text: Tensor, vision: Tensor) -> HeadOutput:
        """Score features (..., D_t) and (..., D_v): logits (..., C)."""
        half = self.bias / 2
        from_text = text @ self.text_weight.T + half
        from_vision = vision @ self.vision_weight.T + half
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

    def forward(self, features: Tensor) -> Tensor:
        """Score features (..., F): logits (..., C)."""
        scores = features @ self.weight.T
        return scores if self.bias is None else scores + self.bias


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
