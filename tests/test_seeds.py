"""Named generators: reproducible, apart from each other, and never the global one."""

from __future__ import annotations

import hashlib

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mkgc_cl.seeds import derive, generator, seeded

SEEDS = st.integers(-(2**40), 2**40)


@given(SEEDS, st.text(max_size=10))
def test_derivation_is_a_hash_of_seed_and_name(seed: int, name: str) -> None:
    """Stable over processes and versions: a run must be repeatable next year."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).hexdigest()
    assert derive(seed, name) == int(digest[:14], 16)
    assert 0 <= derive(seed, name) < 2**56


def test_derivation_is_pinned() -> None:
    assert derive(0, "order") == 40874676933668353
    assert derive(1, "order") != derive(0, "order")


@given(st.lists(st.tuples(st.integers(0, 50), st.sampled_from("abc")), unique=True, max_size=8))
def test_different_concerns_never_share_a_seed(pairs: list[tuple[int, str]]) -> None:
    assert len({derive(seed, name) for seed, name in pairs}) == len(pairs)


@given(SEEDS)
def test_a_generator_repeats_itself_and_nobody_else(seed: int) -> None:
    first, same = generator(seed, "a"), generator(seed, "a")
    other, later = generator(seed, "b"), generator(seed + 1, "a")
    draws = [torch.rand(8, generator=source) for source in (first, same, other, later)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert not torch.equal(draws[0], draws[3])


def test_generators_leave_the_global_state_alone() -> None:
    before = torch.get_rng_state()
    torch.rand(3, generator=generator(0, "a"))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_seeded_block_draws_from_its_own_stream_and_restores() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    with seeded(3, "init"):
        inside = torch.rand(4)
        with seeded(3, "other"):
            nested = torch.rand(4)
        inside_on = torch.rand(4)
    assert torch.equal(torch.get_rng_state(), before)
    expected = torch.rand(8, generator=generator(3, "init"))
    assert torch.equal(torch.cat([inside, inside_on]), expected)
    assert torch.equal(nested, torch.rand(4, generator=generator(3, "other")))


def _fail() -> None:
    with seeded(0, "init"):
        torch.rand(1)
        raise RuntimeError("inside")


def test_a_seeded_block_restores_after_an_error() -> None:
    before = torch.get_rng_state()
    with pytest.raises(RuntimeError, match="inside"):
        _fail()
    assert torch.equal(torch.get_rng_state(), before)
