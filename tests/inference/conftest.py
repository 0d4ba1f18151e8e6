"""Extractors of hashed words, that learn people and places in milliseconds."""

from __future__ import annotations

import pytest
from people import NEGATIVES, OTHERS, RECORDS

from mkgc_cl.inference import Extractor


@pytest.fixture
def fresh() -> Extractor:
    """An extractor that has learnt nothing."""
    return Extractor.from_encoder("tiny", max_length=32)


@pytest.fixture
def taught(fresh: Extractor) -> Extractor:
    """One that has learnt people, then places and what goes on there."""
    fresh.learn(RECORDS, types=["PER"], task="people")
    fresh.learn(
        [*RECORDS, *OTHERS, *NEGATIVES], types=["LOC", "lives_in", "dies_in"], task="places"
    )
    return fresh
