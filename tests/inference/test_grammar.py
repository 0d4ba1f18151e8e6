"""Tags of several texts decoded at once, against all sequences there are."""

from itertools import pairwise, product

import torch
from hypothesis import given
from hypothesis import strategies as st

from mkgc_cl.inference.parts import barred_by_grammar, grammatical

OUTPUTS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")


def _best_of_all(scores: torch.Tensor) -> list[int]:
    def allowed(tags: tuple[int, ...]) -> bool:
        names = ["O", *(OUTPUTS[tag] for tag in tags)]
        return all(
            not name.startswith("I-") or before[1:] == name[1:] for before, name in pairwise(names)
        )

    paths = [p for p in product(range(len(OUTPUTS)), repeat=len(scores)) if allowed(p)]
    words = range(len(scores))
    return list(max(paths, key=lambda path: sum(float(scores[w, path[w]]) for w in words)))


@given(lengths=st.lists(st.integers(0, 4), max_size=5), seed=st.integers(0, 10_000))
def test_every_text_has_its_own_best_grammatical_tags(lengths: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    texts = [torch.randn(n, len(OUTPUTS), generator=generator) for n in lengths]
    found = grammatical(texts, barred_by_grammar(OUTPUTS))
    assert found == [_best_of_all(scores) for scores in texts]
