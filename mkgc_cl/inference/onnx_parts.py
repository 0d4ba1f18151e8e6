"""Parts of an extractor that ONNX Runtime scores."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mkgc_cl.data.batch import MultimodalBatch
from mkgc_cl.data.processor import Processor
from mkgc_cl.data.samples import LabelSpace, TaskKind
from mkgc_cl.data.tokenizer import WordTokenizer
from mkgc_cl.errors import ConfigError, DataError
from mkgc_cl.inference.constraints import TypeConstraints
from mkgc_cl.inference.encoders import load_tokenizer
from mkgc_cl.inference.folders import CONFIG, checked_bytes, read_config
from mkgc_cl.inference.onnx_export import FORMAT, INPUTS
from mkgc_cl.inference.parts import REMEMBERED, LogPosteriors, Part, barred_by_grammar, views_of
from mkgc_cl.models.heads import UNSEEN_LOGIT

if TYPE_CHECKING:
    from mkgc_cl.inference.extractor import Extractor


class Exported(LogPosteriors):
    """A graph of :func:`~mkgc_cl.inference.onnx_export.export_onnx`, run on a CPU.

    Args:
        kind: whether it tags or relates.
        described: its description.
        data: the graph.
        tokenizer: of its encoder.

    Raises:
        ConfigError: ONNX Runtime is not installed.
        DataError: it cannot read the graph.
    """

    def __init__(
        self, kind: TaskKind, described: Mapping[str, Any], data: bytes, tokenizer: WordTokenizer
    ) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise ConfigError(
                ["a graph is run by its packages: pip install 'mkgc_cl[onnx]'"]
            ) from error
        self.labels = LabelSpace(kind, tuple(described["classes"]), described["negative"])
        self.processor = Processor(
            self.labels,
            tokenizer=tokenizer,
            max_text_length=int(described["max_length"]),
            views=views_of(captions=bool(described["captions"])),
            remembered=REMEMBERED,
        )
        self._places = [self.labels.outputs.index(name) for name in described["outputs"]]
        self._fingerprint = str(described["fingerprint"])
        self._barred = barred_by_grammar(self.labels.outputs)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        try:
            self._session = onnxruntime.InferenceSession(
                data, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # of many kinds, none of which it exports
            raise DataError(f"cannot be read as a graph ({error})") from error

    @property
    def ready(self) -> bool:
        """Whether it has learnt anything: else there were no graph."""
        return True

    @property
    def learnt(self) -> tuple[str, ...]:
        """The classes that it knows."""
        return self.labels.classes

    @property
    def fingerprint(self) -> str:
        """Digest of the part that it was made of."""
        return self._fingerprint

    def scores(self, batch: MultimodalBatch) -> Tensor:
        """Log posteriors of a batch: (B, C) of relations or (B, W, C) of words."""
        given = {name: batch[name].numpy() for name in INPUTS[self.kind]}
        (known,) = self._session.run(None, given)
        shape = (*known.shape[:-1], len(self.labels.outputs))
        found = torch.full(shape, UNSEEN_LOGIT, dtype=torch.float64)
        found[..., self._places] = torch.from_numpy(known)
        return found


def load_onnx(folder: Path) -> Extractor:
    """Read what :func:`~mkgc_cl.inference.onnx_export.export_onnx` wrote: it predicts alone.

    Raises:
        ConfigError: ONNX Runtime is not installed.
        DataError: naming the file that is missing, damaged, or something else.
    """
    from mkgc_cl.inference.extractor import Extractor

    described = read_config(folder, FORMAT)
    try:
        parts: dict[TaskKind, Part] = {
            kind: Exported(
                kind,
                one,
                checked_bytes(folder, one),
                load_tokenizer(one["tokenizer"], folder, name=f"{kind}-tokenizer"),
            )
            for kind, one in described["graphs"].items()
        }
        extractor = Extractor(parts, tasks=described["tasks"])
        extractor.constraints = TypeConstraints.from_dict(described["constraints"])
    except DataError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, ConfigError):
            raise
        raise DataError(f"describes no graphs ({error!r})", path=folder / CONFIG) from error
    return extractor
