"""Words and objects of an image by two alignments (Zheng et al. 2021, "MEGA")."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mkgc_cl.errors import DataError
from mkgc_cl.seeds import seeded


class ObjectFusion(nn.Module):
    r"""Read a sample's words from each of its objects, and sum over the objects.

    With :math:`H' = W h` over the tokens and :math:`V_j = W_p o_j`,

    .. math::
        S_j = \sigma\Bigl(\mathrm{softmax}\bigl(Q V_j (K H')^\top / \sqrt{d}\bigr)\, (U H')\Bigr),
        \qquad R_j = \sum_i A_{ij} H'_i, \qquad o = \sum_j W_1 [S_j ; R_j]

    (semantic and structural alignment). Only objects that are there are summed, so a sample without
    any has o = 0.

    RELEASED CODE attends to padding; turns A (L x N) round with ``view``, which deals the weights
    of words and objects out at random; and sums over ten objects, there or not.

    Args:
        text_width: width D of the tokens.
        object_width: width of an object's vector.
        width: width d of everything else.
        structural: align by structure, too; without, R is left out.
        seed: seed of the parameters.
    """

    def __init__(
        self,
        *,
        text_width: int,
        object_width: int,
        width: int,
        structural: bool = True,
        seed: int,
    ) -> None:
        super().__init__()
        with seeded(seed, "fusion-parameters"):
            self.words = nn.Linear(text_width, width)
            self.objects = nn.Linear(object_width, width)
            self.query = nn.Linear(width, width)
            self.key = nn.Linear(width, width)
            self.value = nn.Linear(width, width)
            # W_1 [S ; R] in two halves: without R the first is all there is
            self.semantic = nn.Linear(width, width)
            self.structural = nn.Linear(width, width, bias=False) if structural else None

    def forward(
        self,
        states: Tensor,
        mask: Tensor,
        objects: Tensor,
        present: Tensor,
        alignment: Tensor | None = None,
    ) -> Tensor:
        """Sum up a sample's objects.

        Args:
            states: (B, T, D) text states h.
            mask: (B, T) bool, true on real tokens.
            objects: (B, N, D_v) vectors o of the objects.
            present: (B, N) bool, true on objects that are there.
            alignment: (B, T, N) structural alignment A of tokens and objects; not read by a fusion
                that does not align by structure.

        Returns:
            (B, d).

        Raises:
            DataError: the alignment is not there or has another shape.
        """
        words = self.words(states)
        query = self.query(self.objects(objects))
        scores = query @ self.key(words).transpose(1, 2) / query.shape[-1] ** 0.5  # (B, N, T)
        weights = scores.masked_fill(~mask[:, None], float("-inf")).softmax(dim=-1)
        read = self.semantic(torch.sigmoid(weights @ self.value(words)))
        if self.structural is not None:
            expected = (*mask.shape, present.shape[1])
            if alignment is None:
                raise DataError(
                    f"the batch has no 'alignment' of shape {expected}: samples, tokens, object "
                    "slots; make one with mkgc_cl.data.alignment from parses and scene graphs, or "
                    "choose alignments='semantic'"
                )
            if tuple(alignment.shape) != expected:
                raise DataError(
                    f"alignment has shape {tuple(alignment.shape)}; give {expected}: samples, "
                    "tokens, object slots"
                )
            real = alignment.to(words.dtype) * mask[..., None]
            read = read + self.structural(real.transpose(1, 2) @ words)
        total: Tensor = (read * present[..., None]).sum(dim=1)
        return total
