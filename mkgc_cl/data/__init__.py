"""Samples, readers, images, splits and checks; nothing here knows a training framework.

Importing this package imports neither torch nor Pillow: the data check must answer in seconds.
"""

from mkgc_cl.data.samples import (
    LabelSpace,
    RelationSample,
    Sample,
    TaggingSample,
    Task,
    TaskKind,
    TaskStream,
    VisualInput,
)
from mkgc_cl.data.streams_mner import imner_stream
from mkgc_cl.data.streams_mre import imre_stream

__all__ = [
    "LabelSpace",
    "RelationSample",
    "Sample",
    "TaggingSample",
    "Task",
    "TaskKind",
    "TaskStream",
    "VisualInput",
    "imner_stream",
    "imre_stream",
]
