"""Long texts: every word is read, and counts once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mkgc_cl.inference.windows import batches, crop, windows

SIZES = st.lists(st.integers(1, 5), min_size=1, max_size=60)


@given(SIZES, st.integers(5, 20), st.integers(0, 8))
def test_every_word_counts_in_one_window_that_holds_it(
    sizes: list[int], room: int, overlap: int
) -> None:
    found = windows(sizes, room=room, overlap=overlap)
    counted = [word for window in found for word in range(window.first, window.last)]
    assert counted == list(range(len(sizes)))
    for window in found:
        assert window.start <= window.first <= window.last <= window.end
        assert sum(sizes[window.start : window.end]) <= room


@given(SIZES, st.integers(5, 20), st.data())
def test_a_crop_holds_its_pair_and_no_more_than_fits(
    sizes: list[int], room: int, data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, len(sizes) - 1))
    end = data.draw(st.integers(start + 1, len(sizes)))
    found = crop(sizes, (start, end), room=room)
    if found is None:
        assert sum(sizes[start:end]) > room
        return
    first, last = found
    assert 0 <= first <= start < end <= last <= len(sizes)
    assert sum(sizes[first:last]) <= room
    # nothing next to it would still fit
    assert all(
        sum(sizes[first:last]) + sizes[word] > room
        for word in (first - 1, last)
        if 0 <= word < len(sizes)
    )


@given(st.lists(st.integers(1, 30), max_size=50), st.integers(30, 90), st.integers(1, 9))
def test_batches_hold_every_item_once_and_stay_small(
    lengths: list[int], tokens: int, most: int
) -> None:
    found = batches(lengths, tokens=tokens, most=most)
    assert sorted(place for batch in found for place in batch) == list(range(len(lengths)))
    for batch in found:
        assert len(batch) <= most
        assert len(batch) * max(lengths[place] for place in batch) <= tokens
