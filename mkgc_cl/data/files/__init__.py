"""Own files as streams: readers of CoNLL, JSON lines and MNRE's rows, and rules that cut tasks."""

from mkgc_cl.data.files.grow import grown
from mkgc_cl.data.files.settings import FilesSettings, stream_from_mapping, stream_from_yaml
from mkgc_cl.data.files.stream import stream_from_files

__all__ = [
    "FilesSettings",
    "grown",
    "stream_from_files",
    "stream_from_mapping",
    "stream_from_yaml",
]
