"""Nothing ends because nobody reads what is printed."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest

from mkgc_cl.results.lasting import Lasting
from mkgc_cl.runs.progress import GridProgress


class Gone(io.StringIO):
    """A stream whose reader is gone."""

    def __init__(self, *, terminal: bool = False) -> None:
        super().__init__()
        self.terminal, self.tried = terminal, 0

    def write(self, text: str) -> int:
        self.tried += 1
        raise BrokenPipeError

    def isatty(self) -> bool:
        return self.terminal


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_goes_on_unseen(terminal: bool) -> None:
    stream = Gone(terminal=terminal)
    progress = GridProgress(2, stream=stream, every=0)
    for name in ("a", "b"):
        progress.start(name)
        progress(0.5, "half")
        progress.message("a line")
        progress.finish("done")
    progress.close()
    assert stream.tried == 1


def test_a_closed_stream_and_none_take_everything(caplog) -> None:
    closed = io.StringIO()
    closed.close()
    for stream in (closed, None):
        lasting = Lasting(stream)
        assert lasting.write("x") == 1
        assert not lasting.isatty()
    assert "cannot be written any more: I/O operation on closed file" in caplog.text


def test_characters_that_an_encoding_lacks_are_spelled_out() -> None:
    file = io.BytesIO()
    lasting = Lasting(io.TextIOWrapper(file, encoding="ascii"))
    lasting.write("80.0 \N{PLUS-MINUS SIGN} 2.0\n")
    lasting.write("more\n")
    assert file.getvalue() == b"80.0 \\xb1 2.0\nmore\n"


SCRIPT = """
import sys
from mkgc_cl.results.lasting import lasting_output
with lasting_output():
    for _ in range(3):
        sys.stdout.write("x" * 100_000)
        sys.stderr.write("y\\n")
sys.exit(3)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("redirection", "said"),
    [
        ("| true", b"y\ny\ny\n"),
        (">&-", b"y\ny\ny\n"),
        ("2>&- | true", b""),
        ("> /dev/full", b"No space"),
    ],
)
def test_the_exit_code_is_that_of_the_work(redirection: str, said: bytes) -> None:
    command = f'"$0" -c "$1" {redirection}; exit ${{PIPESTATUS[0]}}'
    done = subprocess.run(
        ["bash", "-c", command, sys.executable, SCRIPT],  # noqa: S607
        stderr=subprocess.PIPE,
        timeout=60,
    )
    assert done.returncode == 3
    assert said in done.stderr
    assert b"BrokenPipe" not in done.stderr
