"""The memory: identities of kept samples by class or task, with a policy for N/A."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

NaPolicy = Literal["merge", "refresh", "keep-first", "grow", "exclude"]


class ExemplarMemory:
    """Identities of exemplars in named slots (a class, or a task).

    It stores identities (of sample and labels), never tensors: a replayed sample goes through the
    same encoder, padding and images as any other.
    """

    def __init__(self) -> None:
        self.slots: dict[str, tuple[str, ...]] = {}

    def __len__(self) -> int:
        """Number of exemplars in all slots."""
        return len(self.identities())

    def identities(self) -> tuple[str, ...]:
        """Every stored identity once, in order of storing."""
        return tuple(dict.fromkeys(name for slot in self.slots.values() for name in slot))

    def store(self, slot: str, identities: Sequence[str]) -> None:
        """Fill a slot anew."""
        self.slots[slot] = tuple(identities)

    def extend(self, slot: str, identities: Sequence[str]) -> None:
        """Add to a slot."""
        self.slots[slot] = (*self.slots.get(slot, ()), *identities)

    def state_dict(self) -> dict[str, list[str]]:
        """Slots as plain lists."""
        return {slot: list(identities) for slot, identities in self.slots.items()}

    def load_state_dict(self, state: dict[str, list[str]]) -> None:
        """Take slots from :meth:`state_dict`."""
        self.slots = {slot: tuple(identities) for slot, identities in state.items()}
