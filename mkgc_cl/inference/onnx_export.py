"""An extractor as ONNX: encoder and readout in one graph for tags and one for relations.

A folder holds ``tags.onnx`` and ``relations.onnx``, whichever the extractor has learnt, the
tokenizer's files and ``config.json``, which names the outputs of each graph. It predicts what the
extractor predicts and learns no more; :class:`~mkgc_cl.inference.onnx_parts.Exported` runs it.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mkgc_cl._files import write_atomic
from mkgc_cl.data.batch import MultimodalBatch
from mkgc_cl.data.samples import RelationSample, Sample, TaggingSample, TaskKind, VisualInput
from mkgc_cl.errors import ConfigError
from mkgc_cl.inference.encoders import save_tokenizer
from mkgc_cl.inference.folders import saving, write_config
from mkgc_cl.inference.parts import ClosedForm
from mkgc_cl.models.gaussian.readout import FLOOR
from mkgc_cl.models.gaussian.solve import LinearScores
from mkgc_cl.models.layer_features import read_layers

if TYPE_CHECKING:
    from mkgc_cl.inference.extractor import Extractor

FORMAT = "mkgc_cl.onnx/1"
OPSET = 18
FILES: Mapping[TaskKind, str] = {"ner": "tags.onnx", "re": "relations.onnx"}
INPUTS: Mapping[TaskKind, Mapping[str, Mapping[int, str]]] = {
    "ner": {
        "input_ids": {0: "batch", 1: "tokens"},
        "attention_mask": {0: "batch", 1: "tokens"},
        "word_starts": {0: "batch", 1: "words"},
        "word_mask": {0: "batch", 1: "words"},
        "text_lengths": {0: "batch"},
    },
    "re": {
        "input_ids": {0: "batch", 1: "tokens"},
        "attention_mask": {0: "batch", 1: "tokens"},
        "marker_positions": {0: "batch"},
        "entities": {0: "batch", 1: "tokens"},
    },
}
"""Fields of :class:`~mkgc_cl.data.batch.MultimodalBatch` that a graph reads, and their axes."""


def export_onnx(extractor: Extractor, folder: Path) -> tuple[Path, ...]:
    """Write an extractor as ONNX.

    Args:
        extractor: the extractor.
        folder: the folder; it is made.

    Returns:
        The graphs.

    Raises:
        ConfigError: naming every part that cannot be exported, or nothing was learnt; or the
            packages of the extra ``onnx`` are not installed.
        OutputError: the folder holds something else.
        OSError: it cannot be written.
    """
    try:
        import onnx  # noqa: F401  # the exporter needs it, and says so late
    except ImportError as error:
        raise ConfigError(["an export needs its packages: pip install 'mkgc_cl[onnx]'"]) from error
    ready = {kind: part for kind, part in extractor.parts.items() if part.ready}
    problems = [problem for kind, part in ready.items() for problem in _problems(kind, part)]
    if not ready:
        problems.append("nothing was learnt yet; call learn() with samples first")
    if problems:
        raise ConfigError(problems)
    parts = {kind: part for kind, part in ready.items() if isinstance(part, ClosedForm)}
    graphs = {kind: _graph(kind, part) for kind, part in parts.items()}
    with saving(folder, FORMAT):
        described: dict[str, Any] = {"model": extractor.model, "tasks": extractor.tasks}
        described["constraints"] = extractor.constraints.to_dict()
        described["graphs"] = {}
        for kind, data in graphs.items():
            part = parts[kind]
            write_atomic(folder / FILES[kind], data)
            known = part.readout.statistics.known.tolist()
            described["graphs"][kind] = {
                "file": FILES[kind],
                "sha256": hashlib.sha256(data).hexdigest(),
                "inputs": list(INPUTS[kind]),
                "outputs": [n for n, has in zip(part.labels.outputs, known, strict=True) if has],
                "classes": list(part.learnt),
                "negative": part.labels.na,
                "encoder": part.encoder.name,
                "captions": part.captions,
                "max_length": part.encoder.max_length,
                "fingerprint": part.fingerprint,
                "tokenizer": save_tokenizer(
                    part.encoder.tokenizer, folder, name=f"{kind}-tokenizer"
                ),
            }
        write_config(folder, FORMAT, described)
    return tuple(folder / FILES[kind] for kind in graphs)


class _Scores(nn.Module):
    """Encoder and linear readout: log posteriors of the K outputs that were learnt."""

    rows: Tensor
    bias: Tensor
    center: Tensor

    def __init__(self, kind: TaskKind, part: ClosedForm, solved: LinearScores) -> None:
        super().__init__()
        self.names = tuple(INPUTS[kind])
        self.stream = part.encoder.stream
        self.layers = part.layers
        temperature = part.readout.temperature
        self.register_buffer("rows", solved.rows.T / temperature)
        self.register_buffer("bias", solved.bias / temperature)
        self.register_buffer("center", solved.center)

    def forward(self, *fields: Tensor) -> Tensor:
        batch = MultimodalBatch(dict(zip(self.names, fields, strict=True)), uids=())
        features = read_layers(self.stream, batch, self.layers)
        scores: Tensor = (features.double() - self.center) @ self.rows + self.bias
        return scores.log_softmax(dim=-1).clamp(min=FLOOR)


def _problems(kind: TaskKind, part: object) -> list[str]:
    """Why a part cannot be exported."""
    what = {"ner": "tags", "re": "relations"}[kind]
    if not isinstance(part, ClosedForm):
        return [
            f"{what} are those of a trained model, and only a frozen encoder with a readout in "
            "closed form is exported; make one with Extractor.from_encoder"
        ]
    options = part.readout.options
    wrong = []
    if options.covariance != "shared":
        wrong.append(f"{what}: covariance={options.covariance!r} is not exported; use 'shared'")
    if options.features != "raw":
        wrong.append(f"{what}: features={options.features!r} are not exported; use 'raw'")
    return wrong


def _graph(kind: TaskKind, part: ClosedForm) -> bytes:
    """The graph of a part.

    Raises:
        ConfigError: the exporter does not know something in its encoder.
    """
    solved = part.readout.solution()
    if not isinstance(solved, LinearScores):
        raise ConfigError([f"{FILES[kind]}: scores that are not linear are not exported"])
    module = _Scores(kind, part, solved).eval()
    batch = part.processor.batch(_examples(kind))
    try:
        with TemporaryDirectory() as made, torch.no_grad(), warnings.catch_warnings():
            file = Path(made) / FILES[kind]
            warnings.simplefilter("ignore")  # shapes that it takes for fixed are not: tested
            torch.onnx.export(
                module,
                tuple(batch[name] for name in INPUTS[kind]),
                str(file),
                input_names=list(INPUTS[kind]),
                output_names=["log_posterior"],
                dynamic_axes={**INPUTS[kind], "log_posterior": _output_axes(kind)},
                opset_version=OPSET,
                dynamo=False,  # the other exporter needs onnxscript
            )
            return file.read_bytes()
    except Exception as error:  # exporters raise errors of their own
        what = {"ner": "tags", "re": "relations"}[kind]
        reason = (str(error).strip().splitlines() or [repr(error)])[0]
        raise ConfigError(
            [f"{what}: the encoder {part.encoder.name!r} cannot be exported ({reason})"]
        ) from error


def _output_axes(kind: TaskKind) -> dict[int, str]:
    return {0: "batch", 1: "words"} if kind == "ner" else {0: "batch"}


def _examples(kind: TaskKind) -> list[Sample]:
    """Two samples of different length, as what is one is taken for fixed."""
    seen = VisualInput(caption="a word")
    texts = [("one", "word", "more"), ("two", "words", "and", "another")]
    if kind == "ner":
        return [TaggingSample("", words, ("O",) * len(words), seen) for words in texts]
    return [RelationSample("", words, (0, 1), (2, 3), "", seen) for words in texts]
