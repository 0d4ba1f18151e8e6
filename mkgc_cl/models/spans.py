"""Features of entities: means over the words of gold spans."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def span_features(words: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Mean over the words of every gold span, whatever its type.

    Args:
        words: (B, W, F) features of words.
        targets: (B, W) ids of BIO tags as :attr:`~mkgc_cl.data.samples.LabelSpace.outputs` numbers
            them (0 is ``O``, then ``B`` and ``I`` of each type), padded with -100.

    Returns:
        Features (S, F) of the batch's spans in order, in single precision at least, and their
        types (S,), numbered from 0 in order of arrival.
    """
    tags = targets.flatten()
    inside = tags > 0
    begins = inside & (tags % 2 == 1)
    number = begins.cumsum(dim=0) - 1  # of the span that a word inside one belongs to
    count = int(begins.sum())
    exact = words.to(torch.promote_types(words.dtype, torch.float32)).flatten(0, 1)
    total = exact.new_zeros(count, exact.shape[1]).index_add(0, number[inside], exact[inside])
    lengths = torch.bincount(number[inside], minlength=count)
    return total / lengths[:, None], (tags[begins] - 1) // 2


def mean_of_words(words: Tensor, mask: Tensor, targets: Tensor, outputs: Sequence[int]) -> Tensor:
    """Mean over a sample's words with one of the given tags; over all of them where it has none.

    Args:
        words: (B, W, F) features of words.
        mask: (B, W) bool, true on real words.
        targets: (B, W) ids of tags, padded with -100.
        outputs: ids of the tags that count.

    Returns:
        (B, F), in single precision at least.
    """
    counted = torch.isin(targets, torch.tensor(list(outputs), dtype=torch.long).to(targets.device))
    counted = torch.where(counted.any(dim=1, keepdim=True), counted, mask)
    weights = counted[..., None].to(torch.promote_types(words.dtype, torch.float32))
    return (words * weights).sum(dim=1) / weights.sum(dim=1)
