"""What a server adds to its encoder: texts per second, and how long each waits."""

from __future__ import annotations

import http.client
import json
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

from mkgc_cl.data.demo import demo_stream
from mkgc_cl.errors import OutputError
from mkgc_cl.experiments.speed.tables import line_of
from mkgc_cl.inference import Extractor
from mkgc_cl.inference.parts import ClosedForm
from mkgc_cl.inference.scoring import in_batches, tag_readings
from mkgc_cl.inference.speed import timed
from mkgc_cl.results.counted import counted

CLIENTS = (1, 4, 16)
"""Numbers of clients that ask at once, each one text after the other."""
TEXTS = 256
"""Texts that are asked about, of about a dozen words each."""
ROUNDS = 6
"""Times that all texts are asked about at once."""
Ask = Callable[[list[str]], object]


def measure_serving(
    encoder: str, folder: Path, *, tell: Callable[[str], None]
) -> dict[str, list[dict[str, Any]]]:
    """Ask the encoder alone, an extractor of one entity type, and a server of it, the same texts.

    Returns:
        ``serving``, of each way to ask: ``what``, ``texts_per_s``, and of a text that is asked for
        alone ``p50_ms`` and ``p95_ms``.

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

    found: list[dict[str, Any]] = []

    def note(what: str, seconds: float, waits: Sequence[float] = ()) -> None:
        row: dict[str, Any] = {"what": what, "texts_per_s": len(asked) / seconds}
        if waits:
            ranks = statistics.quantiles(waits, n=20)
            row |= {"p50_ms": 1e3 * statistics.median(waits), "p95_ms": 1e3 * ranks[-1]}
        found.append(row)
        tell(line_of(row))

    # in turn, text by text and round by round: what else the machine does slows both alike
    asks: tuple[Ask, ...] = (encode, extractor)
    for ask in asks:
        ask(list(asked))
    waits = _in_turn(asks, [[text] for text in asked])
    rounds = _in_turn(asks, [list(asked)] * ROUNDS)
    for what, alone, together in zip(("encoder", "extractor"), waits, rounds, strict=True):
        note(f"{what}, one by one", sum(alone), alone)
        note(f"{what}, all at once", statistics.median(together))
    with serving(folder) as ask:
        note("server, all at once", _seconds(ask, asked))
        for clients in CLIENTS:
            start = time.perf_counter()
            with ThreadPoolExecutor(clients) as pool:
                each = [*pool.map(lambda text: _seconds(ask, [text]), asked)]
            note(f"server, {counted(clients, 'client')}", time.perf_counter() - start, each)
    return {"serving": found}


def _seconds(ask: Ask, texts: list[str]) -> float:
    return timed(partial(ask, texts))[1]


def _in_turn(asks: Sequence[Ask], questions: Sequence[list[str]]) -> list[list[float]]:
    """Seconds that each way to ask takes for each question; whose turn is first alternates."""
    waits: list[list[float]] = [[] for _ in asks]
    for number, texts in enumerate(questions):
        for which in range(len(asks)) if number % 2 == 0 else reversed(range(len(asks))):
            waits[which].append(_seconds(asks[which], texts))
    return waits


@contextmanager
def serving(folder: Path) -> Iterator[Ask]:
    """Run ``mkgc serve`` in a process of its own, and yield what asks it.

    Raises:
        OutputError: it does not start, or answers something else.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])

    def ask(texts: list[str]) -> None:
        head = {"Content-Type": "application/json"}
        with closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:
            connection.request("POST", "/extract", json.dumps({"texts": texts}), head)
            answer = connection.getresponse()
            found = json.loads(answer.read())
        if answer.status != 200:
            raise OutputError(f"the server answered {answer.status}: {found}")

    command = ["-m", "mkgc_cl", "serve", str(folder), "--port", str(port)]
    with subprocess.Popen([sys.executable, *command]) as process:  # noqa: S603
        try:
            while not _answers(ask):
                if process.poll() is not None:
                    raise OutputError("the server does not start; see what it printed")
                time.sleep(0.1)
            yield ask
        finally:
            process.terminate()


def _answers(ask: Ask) -> bool:
    try:
        ask(["ready"])
    except ConnectionError:
        return False
    return True
