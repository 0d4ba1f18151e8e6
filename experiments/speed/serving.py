"""What a server adds to its encoder: texts per second, and how long each waits."""

from __future__ import annotations

import http.client
import json
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, cast

from mkgc_cl.data.demo import demo_stream
from mkgc_cl.errors import OutputError
from mkgc_cl.inference import Extractor
from mkgc_cl.inference.parts import ClosedForm
from mkgc_cl.inference.scoring import in_batches, tag_readings
from mkgc_cl.results.counted import counted

CLIENTS = (1, 4, 16)
"""Numbers of clients that ask at once, each one text after the other."""
TEXTS = 256
"""Texts that are asked about, of about a dozen words each."""
ROUNDS = 6
"""Times that all texts are asked about at once."""


def measure_serving(
    encoder: str, folder: Path, *, tell: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Ask the encoder alone, an extractor of one entity type, and a server of it, the same texts.

    Returns:
        Of each way to ask: ``what``, ``texts_per_s``, and of a text that is asked for alone
        ``p50_ms`` and ``p95_ms``.

    Raises:
        OutputError: the server does not start.
    """
    task = demo_stream("ner", train_per_task=64, test_size=TEXTS).tasks[0]
    asked = [" ".join(sample.tokens) for sample in task.test]
    extractor = Extractor.from_encoder(encoder)
    extractor.learn(task.train)
    extractor.save(folder)
    part = cast(ClosedForm, extractor.parts["ner"])
    blank = task.test[0].visual

    def encode(some: Sequence[str]) -> None:
        readings = tag_readings(part, [text.split() for text in some], [blank] * len(some))
        for _, batch in in_batches(part, readings):
            part.features(batch)

    found = []

    def note(what: str, seconds: float, waits: Sequence[float] = ()) -> None:
        row: dict[str, Any] = {"what": what, "texts_per_s": len(asked) / seconds}
        if waits:
            ranks = statistics.quantiles(waits, n=20)
            row |= {"p50_ms": 1e3 * statistics.median(waits), "p95_ms": 1e3 * ranks[-1]}
        found.append(row)
        tell(serving_text([row]).rstrip())

    # in turn, text by text and round by round: what else the machine does slows both alike
    asks = (encode, extractor)
    for ask in asks:
        ask(list(asked))
    waits = _in_turn(asks, [[text] for text in asked])
    rounds = _in_turn(asks, [list(asked)] * ROUNDS)
    for what, alone, together in zip(("encoder", "extractor"), waits, rounds, strict=True):
        note(f"{what}, one by one", sum(alone), alone)
        note(f"{what}, all at once", statistics.median(together))
    with _Server(folder) as server:
        start = time.perf_counter()
        server.ask(asked)
        note("server, all at once", time.perf_counter() - start)
        for clients in CLIENTS:
            what = f"server, {counted(clients, 'client')}"
            note(what, *_asked(server.ask, asked, clients))
    return found


def serving_text(found: Sequence[dict[str, Any]]) -> str:
    """The same as lines."""
    lines = []
    for row in found:
        waits = (
            f"   p50 {row['p50_ms']:.1f} ms   p95 {row['p95_ms']:.1f} ms" if "p50_ms" in row else ""
        )
        lines.append(f"{row['what']:<24} {row['texts_per_s']:8.1f} texts/s{waits}\n")
    return "".join(lines)


def _in_turn(
    asks: Sequence[Callable[[list[str]], object]], questions: Sequence[list[str]]
) -> list[list[float]]:
    """Seconds that each way to ask takes for each question; whose turn is first alternates."""
    waits: list[list[float]] = [[] for _ in asks]
    for number, texts in enumerate(questions):
        for which in range(len(asks)) if number % 2 == 0 else reversed(range(len(asks))):
            start = time.perf_counter()
            asks[which](texts)
            waits[which].append(time.perf_counter() - start)
    return waits


def _asked(
    ask: Callable[[list[str]], object], texts: Sequence[str], clients: int
) -> tuple[float, list[float]]:
    """Seconds until so many clients, each with one text at a time, are done; and of each text."""

    def wait(text: str) -> float:
        start = time.perf_counter()
        ask([text])
        return time.perf_counter() - start

    start = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        waits = [*pool.map(wait, texts)]
    return time.perf_counter() - start, waits


class _Server:
    """``mkgc serve`` in a process of its own."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        command = ["-m", "mkgc_cl", "serve", str(folder), "--port", str(self.port)]
        self._process = subprocess.Popen([sys.executable, *command])  # noqa: S603

    def __enter__(self) -> _Server:
        while self._process.poll() is None:
            try:
                self.ask(["ready"])
                return self
            except ConnectionError:
                time.sleep(0.1)
        raise OutputError("the server does not start; see what it printed")

    def __exit__(self, *error: object) -> None:
        self._process.terminate()
        self._process.wait()

    def ask(self, texts: list[str]) -> Any:
        """Send a request."""
        head = {"Content-Type": "application/json"}
        with closing(http.client.HTTPConnection("127.0.0.1", self.port)) as connection:
            connection.request("POST", "/extract", json.dumps({"texts": texts}), head)
            answer = connection.getresponse()
            found = json.loads(answer.read())
        if answer.status != 200:
            raise OutputError(f"the server answered {answer.status}: {found}")
        return found
