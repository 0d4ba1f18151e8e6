"""An extractor as a folder: what it has learnt, its encoder, and a digest of every sample.

Tensors go into files that are named by their content, and the description that names them is
replaced in one step at the end: whoever reads the folder, or finds it after a power cut, has the
old extractor or the new one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, cast

from mkgc_cl._files import write_atomic
from mkgc_cl.data.samples import TaskKind
from mkgc_cl.errors import ConfigError, DataError, OutputError
from mkgc_cl.inference.card import CardFacts, model_card
from mkgc_cl.inference.encoder import FrozenEncoder
from mkgc_cl.inference.encoders import build_text, describe_text, load_tokenizer, save_tokenizer
from mkgc_cl.inference.extractor import Extractor
from mkgc_cl.inference.folders import (
    CONFIG,
    checked_bytes,
    read_config,
    read_saved,
    read_tensors,
    remove_unnamed,
    saving,
    write_config,
    write_tensors,
)
from mkgc_cl.inference.ledger import Ledger
from mkgc_cl.inference.parts import ClosedForm, Part, Trained
from mkgc_cl.inference.saving import from_pretrained, save_pretrained
from mkgc_cl.models.gaussian import readout_bytes, readout_of_bytes
from mkgc_cl.models.whole_encoder import plain_stream

FORMAT = "mkgc_cl.extractor/2"
_USE = """from mkgc_cl import Extractor

extractor = Extractor.load("FOLDER")
extractor("Jordan beat Chelsea in London")"""


def save_extractor(extractor: Extractor, folder: Path, *, facts: CardFacts | None = None) -> None:
    """Write an extractor into a folder.

    Args:
        extractor: the extractor.
        folder: the folder; it is made.
        facts: what its card says beside what it is.

    Raises:
        ConfigError: a trained model in it cannot be saved.
        OutputError: the folder holds something else, or what another process has saved since the
            extractor was loaded from it, which would be lost.
        OSError: it cannot be written; what the folder held is as it was.
    """
    with saving(folder, FORMAT):
        _require_latest(extractor, folder)
        _save(extractor, folder, facts)


@contextmanager
def edit_extractor(
    folder: Path,
    *,
    new: Callable[[], Extractor] | None = None,
    waiting: Callable[[], object] | None = None,
    facts: CardFacts | None = None,
) -> Iterator[Extractor]:
    """Load an extractor, yield it to be changed, and save it; nobody else changes it meanwhile.

    Between a load and a save of one's own another process may have saved what it taught, which
    would be lost. Where anything raises, the folder is as it was.

    Args:
        folder: the folder.
        new: makes the extractor where the folder holds none; by default that is an error.
        waiting: called where another process has the folder; see
            :func:`~mkgc_cl.inference.folders.saving`.
        facts: what its card says beside what it is.

    Raises:
        DataError: as of :func:`load_extractor`.
        ConfigError: as of :func:`save_extractor`.
        OutputError: as of :func:`save_extractor`, or another process does not finish.
        OSError: as of :func:`save_extractor`.
    """
    if new is None and not (folder / CONFIG).exists():
        load_extractor(folder)  # says what is missing, and makes no folder
    with saving(folder, FORMAT, waiting=waiting):
        fresh = new is not None and not (folder / CONFIG).exists()
        extractor = new() if new is not None and fresh else load_extractor(folder)
        yield extractor
        _require_latest(extractor, folder)
        _save(extractor, folder, facts)


def _require_latest(extractor: Extractor, folder: Path) -> None:
    where, described = extractor._kept or (None, None)
    if where != folder.resolve() or not (folder / CONFIG).exists():
        return
    if read_config(folder, FORMAT) != described:
        raise OutputError(
            f"{folder}: another process has saved into it since this extractor was loaded; load it "
            "again, and change it with Extractor.editing(FOLDER)"
        )


def _save(extractor: Extractor, folder: Path, facts: CardFacts | None) -> None:
    facts = facts or CardFacts(title="mkgc_cl extractor")
    encoders: dict[str, Any] = {}
    parts: dict[str, Any] = {}
    for kind, part in extractor.parts.items():
        if isinstance(part, ClosedForm):
            fingerprint = part.encoder.fingerprint
            if fingerprint not in encoders:
                encoders[fingerprint] = _save_encoder(part.encoder, folder)
            parts[kind] = _save_part(part, folder, extractor.ledgers[kind])
        else:
            parts[kind] = {"kind": "trained", "folder": f"{kind}-{part.fingerprint}"}
            save_pretrained(cast(Trained, part).model, folder / str(parts[kind]["folder"]))
    said = {
        "entity types": list(extractor.types),
        "relations": list(extractor.relations),
        "tasks": list(dict.fromkeys(extractor.tasks.values())),
        "encoder": [one["name"] for one in encoders.values()],
        "digest": extractor.model,
    }
    described = {
        "parts": parts,
        "encoders": encoders,
        "tasks": extractor.tasks,
        "background": extractor.background,
    }
    write_config(folder, FORMAT, described)
    extractor._kept = (folder.resolve(), read_config(folder, FORMAT))
    write_atomic(folder / "README.md", model_card(facts, described=said, use=_USE))
    files = [one for one in encoders.values()]
    files += [
        part[name] for part in parts.values() for name in ("readout", "ledger") if name in part
    ]
    remove_unnamed(folder, {str(one["file"]) for one in files})


def load_extractor(folder: Path) -> Extractor:
    """Read an extractor that :func:`save_extractor` wrote.

    Raises:
        DataError: naming the file that is missing, damaged, something else, or of a newer version.
    """
    return read_saved(folder, FORMAT, partial(_load, folder))


def _load(folder: Path, described: Mapping[str, Any]) -> Extractor:
    path = folder / CONFIG
    try:
        encoders = {
            name: _load_encoder(one, folder, name) for name, one in described["encoders"].items()
        }
        parts: dict[TaskKind, Part] = {}
        ledgers: dict[TaskKind, Ledger] = {}
        for kind, one in described["parts"].items():
            if one["kind"] == "trained":
                parts[kind] = Trained(from_pretrained(folder / Path(one["folder"]).name))
            else:
                parts[kind], ledgers[kind] = _load_part(kind, one, folder, encoders)
        extractor = Extractor(
            parts,
            ledgers=ledgers,
            tasks=described["tasks"],
            background=described["background"],
        )
        extractor._kept = (folder.resolve(), described)
        return extractor
    except DataError:
        raise
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, ConfigError) as error:
        raise DataError(f"describes no extractor ({error!r})", path=path) from error


def _save_encoder(encoder: FrozenEncoder, folder: Path) -> dict[str, Any]:
    return {
        "name": encoder.name,
        "markers": encoder.markers,
        "max_length": encoder.max_length,
        "text": describe_text(encoder.stream),
        "tokenizer": save_tokenizer(encoder.tokenizer, folder),
        **write_tensors(folder, "encoder", encoder.stream.state_dict()),
    }


def _load_encoder(one: Mapping[str, Any], folder: Path, fingerprint: str) -> FrozenEncoder:
    module = build_text(one["text"], path=folder / CONFIG)
    stream = plain_stream(module, max_length=int(one["max_length"])).eval().requires_grad_(False)
    try:
        stream.load_state_dict(read_tensors(folder, one))
    except RuntimeError as error:
        raise DataError(
            f"its weights do not fit its description ({str(error).splitlines()[-1].strip()})",
            path=folder / str(one["file"]),
        ) from error
    tokenizer = load_tokenizer(one["tokenizer"], folder)
    encoder = FrozenEncoder(stream, tokenizer, str(one["name"]), one["markers"])
    if encoder.fingerprint != fingerprint:
        raise DataError(
            "its encoder is not the one that was learnt with; copy the folder again",
            path=folder / str(one["file"]),
        )
    return encoder


def _save_part(part: ClosedForm, folder: Path, ledger: Ledger) -> dict[str, Any]:
    tensors, names = ledger.tensors()
    name = {"ner": "tags", "re": "relations"}[part.kind]
    return {
        "kind": "closed-form",
        "classes": list(part.labels.classes),
        "negative": part.labels.na,
        "layers": list(part.layers),
        "captions": part.captions,
        "options": asdict(part.readout.options),
        "encoder": part.encoder.fingerprint,
        "readout": write_tensors(folder, name, readout_bytes(part.readout)),
        "ledger": {**write_tensors(folder, f"{name}-ledger", tensors), **names},
    }


def _load_part(
    kind: TaskKind,
    one: Mapping[str, Any],
    folder: Path,
    encoders: Mapping[str, FrozenEncoder],
) -> tuple[ClosedForm, Ledger]:
    path = folder / str(one["readout"]["file"])
    readout = readout_of_bytes(checked_bytes(folder, one["readout"]), path=path)
    try:
        part = ClosedForm(
            kind,
            encoders[one["encoder"]],
            classes=one["classes"],
            negative=one["negative"] or "None",
            layers=tuple(one["layers"]),
            readout=readout,
            captions=bool(one["captions"]),
        )
    except ConfigError as error:
        raise DataError(f"does not fit its description ({error.problems[0]})", path=path) from error
    tensors = read_tensors(folder, one["ledger"])
    return part, Ledger.from_tensors(tensors, one["ledger"], captions=part.captions)
