"""What each sample taught, by digest: no text is kept, yet every sample can be unlearnt.

An entry is the digest of a sample's words (of a relation also its spans), the task, and for every
word the output that it taught, or -1 for none. Entries are kept in the order they were learnt in.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from mkgc_cl.data.samples import RelationSample, Sample
from mkgc_cl.errors import DataError

T = TypeVar("T")

NOTHING = -1
"""Taught by a word that was left out."""


class Entry(NamedTuple):
    """What one sample taught.

    Args:
        task: name of the task.
        taught: the output of each word, or of the relation.
        pair: types of a relation's entities at that time.
        known: the types that were known then, where both of ``pair`` are.
        weights: how much each word taught, where that is not 1 for all.
    """

    task: str
    taught: tuple[int, ...]
    pair: tuple[str | None, str | None] = (None, None)
    known: tuple[str, ...] = ()
    weights: tuple[float, ...] = ()


@dataclass(slots=True)
class Ledger:
    """Entries by digest; the same words may have been learnt in several tasks.

    Args:
        entries: the entries; a tuple that is there is replaced and never changed.
        captions: whether a sample's caption is part of what it is.
    """

    entries: dict[str, tuple[Entry, ...]]
    captions: bool = False

    def __len__(self) -> int:
        return sum(map(len, self.entries.values()))

    def __iter__(self) -> Iterator[Entry]:
        return (entry for found in self.entries.values() for entry in found)

    @property
    def tasks(self) -> set[str]:
        """Names of the tasks that samples were learnt in."""
        return {entry.task for entry in self}

    def copied(self) -> Ledger:
        """The same, to be changed by itself."""
        return Ledger(dict(self.entries), self.captions)

    def digest(self, sample: Sample) -> str:
        """Identity of a sample, see :func:`digest`."""
        return digest(sample, captions=self.captions)

    def add(self, sample: Sample, entry: Entry) -> None:
        """Write down what a sample taught."""
        key = self.digest(sample)
        self.entries[key] = (*self.entries.get(key, ()), entry)

    def of(self, sample: Sample) -> tuple[Entry, ...]:
        """What a sample has taught so far."""
        return self.entries.get(self.digest(sample), ())

    def drop(self, sample: Sample) -> None:
        """Forget that a sample taught anything."""
        self.entries.pop(self.digest(sample), None)

    def relabel(
        self, places: Mapping[int, int], names: Mapping[str, str | None] | None = None
    ) -> Ledger:
        """Return it with other numbers of outputs, and other names of entity types."""
        new = names or {}

        def moved(entry: Entry) -> Entry:
            taught = tuple(places[output] if output >= 0 else output for output in entry.taught)
            one, other = (None if name is None else new.get(name, name) for name in entry.pair)
            known = {new.get(name, name) for name in entry.known} - {None}
            both = one is not None and other is not None
            kept = tuple(sorted(map(str, known))) if both else ()
            return entry._replace(taught=taught, pair=(one, other), known=kept)

        entries = {key: tuple(map(moved, found)) for key, found in self.entries.items()}
        return Ledger(entries, self.captions)

    def merge(self, other: Ledger) -> int:
        """Take the entries of another one; return how many samples both had learnt."""
        both = 0
        for key, found in other.entries.items():
            both += key in self.entries
            self.entries[key] = (*self.entries.get(key, ()), *found)
        return both

    def tensors(self) -> tuple[dict[str, Tensor], dict[str, list[Any]]]:
        """Flat tensors, and the names that they number: of tasks, of types, and sets of these."""
        rows = [(key, entry) for key, found in self.entries.items() for entry in found]
        tasks = _numbered(entry.task for _, entry in rows)
        types = _numbered((None, *(name for _, entry in rows for name in entry.pair)))
        known = _numbered(entry.known for _, entry in rows)
        keys = np.frombuffer(b"".join(bytes.fromhex(key) for key, _ in rows), dtype=np.uint8)
        numbers: dict[str, list[int]] = {
            "tasks": [tasks[e.task] for _, e in rows],
            "lengths": [len(e.taught) for _, e in rows],
            "weighted": [len(e.weights) for _, e in rows],
            "known": [known[e.known] for _, e in rows],
            "taught": [output for _, e in rows for output in e.taught],
            "heads": [types[e.pair[0]] for _, e in rows],
            "tails": [types[e.pair[1]] for _, e in rows],
        }
        flat = {name: torch.tensor(found, dtype=torch.int32) for name, found in numbers.items()}
        weights = [weight for _, e in rows for weight in e.weights]
        flat["weights"] = torch.tensor(weights, dtype=torch.float64)
        flat["digests"] = torch.from_numpy(keys.copy()).reshape(len(rows), 16)
        return flat, {"tasks": [*tasks], "types": [*types], "known": [list(k) for k in known]}

    @classmethod
    def from_tensors(
        cls,
        tensors: Mapping[str, Tensor],
        names: Mapping[str, Sequence[Any]],
        *,
        captions: bool = False,
    ) -> Ledger:
        """Read what :meth:`tensors` returned.

        Raises:
            DataError: they do not fit together.
        """
        made = cls({}, captions)
        tasks, types = names["tasks"], names["types"]
        known = [tuple(map(str, found)) for found in names["known"]]
        columns = ("tasks", "lengths", "weighted", "known", "heads", "tails")
        rows = [tensors[name].tolist() for name in columns]
        digests, taught, weights = (tensors[name] for name in ("digests", "taught", "weights"))
        same = {len(digests), *map(len, rows)}
        if len(same) > 1 or sum(rows[1]) != len(taught) or sum(rows[2]) != len(weights):
            raise DataError("a ledger of samples whose parts do not fit together")
        flat, scales = iter(taught.tolist()), iter(weights.tolist())
        for key, task, length, weighted, types_known, head, tail in zip(
            digests.numpy(), *rows, strict=True
        ):
            entry = Entry(
                tasks[task],
                tuple(islice(flat, length)),
                (types[head], types[tail]),
                known[types_known],
                tuple(islice(scales, weighted)),
            )
            place = key.tobytes().hex()
            made.entries[place] = (*made.entries.get(place, ()), entry)
        return made


def digest(sample: Sample, *, captions: bool = False) -> str:
    """Identity of a sample's words, and of a relation's spans: 32 hexadecimal digits.

    Args:
        sample: the sample.
        captions: its caption is read, too.
    """
    spans = (sample.head, sample.tail) if isinstance(sample, RelationSample) else ()
    caption = sample.visual.caption if captions else None
    rest = json.dumps([spans, caption], ensure_ascii=False).encode()
    return hashlib.blake2b(_digest_of_words(sample.tokens) + rest, digest_size=16).hexdigest()


@lru_cache(maxsize=16)  # a document is asked about once for each of its pairs
def _digest_of_words(tokens: tuple[str, ...]) -> bytes:
    plain = json.dumps(tokens, ensure_ascii=False)
    return hashlib.blake2b(plain.encode(), digest_size=16).digest()


def _numbered(names: Iterable[T]) -> dict[T, int]:
    """Number what occurs, in the order that it occurs in."""
    return {name: place for place, name in enumerate(dict.fromkeys(names))}
