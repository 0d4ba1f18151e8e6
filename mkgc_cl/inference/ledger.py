"""What each sample taught, by digest: no text is kept, yet every sample can be unlearnt.

An entry is the digest of a sample's words (of a relation also its spans), the task, and for every
word the output that it taught, or -1 for none.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mkgc_cl.data.samples import RelationSample, Sample
from mkgc_cl.errors import DataError

NOTHING = -1
"""Taught by a word that was left out."""


class Entry(NamedTuple):
    """What one sample taught: its task, and the output of each word (or of the relation).

    ``pair`` are the types of a relation's entities at that time.
    """

    task: str
    taught: tuple[int, ...]
    pair: tuple[str | None, str | None] = (None, None)


@dataclass(slots=True)
class Ledger:
    """Entries by digest; the same words may have been learnt in several tasks."""

    entries: dict[str, list[Entry]]

    def __len__(self) -> int:
        return sum(map(len, self.entries.values()))

    @property
    def tasks(self) -> set[str]:
        """Names of the tasks that samples were learnt in."""
        return {entry.task for found in self.entries.values() for entry in found}

    def add(self, sample: Sample, entry: Entry) -> None:
        """Write down what a sample taught."""
        self.entries.setdefault(digest(sample), []).append(entry)

    def of(self, sample: Sample) -> list[Entry]:
        """What a sample has taught so far."""
        return self.entries.get(digest(sample), [])

    def drop(self, sample: Sample) -> None:
        """Forget that a sample taught anything."""
        self.entries.pop(digest(sample), None)

    def relabel(
        self, places: Mapping[int, int], names: Mapping[str, str | None] | None = None
    ) -> Ledger:
        """Return it with other numbers of outputs, and other names of entity types."""

        def moved(entry: Entry) -> Entry:
            taught = tuple(places[output] if output >= 0 else output for output in entry.taught)
            one, other = (
                None if name is None else (names or {}).get(name, name) for name in entry.pair
            )
            return Entry(entry.task, taught, (one, other))

        return Ledger({key: [moved(e) for e in found] for key, found in self.entries.items()})

    def merge(self, other: Ledger) -> int:
        """Take the entries of another one; return how many samples both had learnt."""
        both = 0
        for key, found in other.entries.items():
            both += key in self.entries
            self.entries.setdefault(key, []).extend(found)
        return both

    def tensors(self) -> tuple[dict[str, Tensor], list[str], list[str | None]]:
        """Flat tensors, and the names of tasks and of types that they number."""
        rows = [(key, entry) for key in sorted(self.entries) for entry in self.entries[key]]
        tasks = sorted({entry.task for _, entry in rows})
        types: list[str | None] = [
            None,
            *sorted({str(t) for _, entry in rows for t in entry.pair if t is not None}),
        ]
        task_at = {name: place for place, name in enumerate(tasks)}
        type_at = {name: place for place, name in enumerate(types)}
        flat = [output for _, entry in rows for output in entry.taught]
        keys = np.frombuffer(b"".join(bytes.fromhex(key) for key, _ in rows), dtype=np.uint8)
        return (
            {
                "digests": torch.from_numpy(keys.copy()).reshape(len(rows), 16),
                "tasks": torch.tensor([task_at[e.task] for _, e in rows], dtype=torch.int32),
                "lengths": torch.tensor([len(e.taught) for _, e in rows], dtype=torch.int32),
                "taught": torch.tensor(flat, dtype=torch.int32),
                "pairs": torch.tensor(
                    [[type_at[name] for name in e.pair] for _, e in rows], dtype=torch.int32
                ).reshape(-1, 2),
            },
            tasks,
            types,
        )

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, Tensor], tasks: Sequence[str], types: Sequence[str | None]
    ) -> Ledger:
        """Read what :meth:`tensors` returned.

        Raises:
            DataError: they do not fit together.
        """
        made = cls({})
        lengths = tensors["lengths"].tolist()
        rows = len(lengths)
        same = all(len(tensors[name]) == rows for name in ("digests", "tasks", "pairs"))
        if not same or sum(lengths) != len(tensors["taught"]):
            raise DataError("a ledger of samples whose parts do not fit together")
        flat, place = tensors["taught"].tolist(), 0
        for key, task, length, pair in zip(
            tensors["digests"].numpy(),
            tensors["tasks"].tolist(),
            lengths,
            tensors["pairs"].tolist(),
            strict=True,
        ):
            one, other = pair
            entry = Entry(
                tasks[task], tuple(flat[place : place + length]), (types[one], types[other])
            )
            made.entries.setdefault(key.tobytes().hex(), []).append(entry)
            place += length
        return made


def digest(sample: Sample) -> str:
    """Identity of a sample's words, and of a relation's spans: 32 hexadecimal digits."""
    spans = (sample.head, sample.tail) if isinstance(sample, RelationSample) else ()
    plain = json.dumps([sample.tokens, spans], ensure_ascii=False)
    return hashlib.blake2b(plain.encode(), digest_size=16).hexdigest()
