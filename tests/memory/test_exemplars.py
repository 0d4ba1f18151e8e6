"""The memory against a plain model of it: a dict of lists."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mkgc_cl.memory.exemplars import ExemplarMemory

SLOTS = st.sampled_from(["PER", "LOC", "O"])
NAMES = st.lists(st.sampled_from("abcdef"), max_size=4)
STEPS = st.lists(st.tuples(st.sampled_from(["store", "extend"]), SLOTS, NAMES), max_size=8)


@pytest.mark.slow
@given(STEPS)
def test_behaves_like_a_dict_of_lists(steps: list[tuple[str, str, list[str]]]) -> None:
    memory = ExemplarMemory()
    model: dict[str, list[str]] = {}
    for step, slot, names in steps:
        if step == "store":
            memory.store(slot, names)
            model[slot] = list(names)
        else:
            memory.extend(slot, names)
            model[slot] = model.get(slot, []) + names
    assert {slot: list(kept) for slot, kept in memory.slots.items()} == model
    once = list(dict.fromkeys(name for kept in model.values() for name in kept))
    assert list(memory.identities()) == once
    assert len(memory) == len(once)


@pytest.mark.slow
@given(STEPS)
def test_state_survives_json(steps: list[tuple[str, str, list[str]]]) -> None:
    memory, restored = ExemplarMemory(), ExemplarMemory()
    for step, slot, names in steps:
        getattr(memory, step)(slot, names)
    restored.load_state_dict(json.loads(json.dumps(memory.state_dict())))
    assert restored.slots == memory.slots


def test_a_state_is_a_copy() -> None:
    memory = ExemplarMemory()
    memory.store("PER", ["a"])
    state = memory.state_dict()
    state["PER"].append("b")
    assert memory.identities() == ("a",)
