"""A server that is a process of its own: killed, stopped, asked and taught at once."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from people import RECORDS

from mkgc_cl.inference import Extractor
from mkgc_cl.inference.serving import run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="servers are forked, which is quick"),
]
HEAD = {"Authorization": "Bearer secret"}
TEXT = "Ann lives in Rome"


@contextmanager
def served(folder: Path, *, port: int) -> Iterator[multiprocessing.process.BaseProcess]:
    """A server that answers; killed at the end, if it is still there."""
    token = folder.parent / "token"
    token.write_text("secret")
    process = multiprocessing.get_context("fork").Process(
        target=run, args=(folder,), kwargs={"host": "127.0.0.1", "port": port, "token_file": token}
    )
    process.start()
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                httpx.get(f"http://127.0.0.1:{port}/health")
                break
            except httpx.TransportError:
                assert process.is_alive()
                assert time.monotonic() < deadline
                time.sleep(0.02)
        yield process
    finally:
        process.kill()
        process.join()


@pytest.fixture
def port() -> int:
    """A free one."""
    with socket.socket() as own:
        own.bind(("127.0.0.1", 0))
        return int(own.getsockname()[1])


def lesson(number: int) -> list[dict[str, Any]]:
    """Samples of a type of their own."""
    return [{"tokens": ["Ann", f"thing{number}"], "entities": [(1, 2, f"T{number}")]}]


def new_extractor() -> Extractor:
    made = Extractor.from_encoder("tiny", max_length=32)
    made.learn(RECORDS, types=["PER"], task="people")
    return made


def teach(port: int, first: int, known: list[str]) -> None:
    """Teach one type after the other until nobody answers; note those that were acknowledged."""
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=HEAD, timeout=60) as client:
        for number in range(first, first + 1000):
            try:
                answer = client.post("/learn", json={"samples": lesson(number)})
            except httpx.TransportError:
                return
            assert answer.status_code == 200
            known += answer.json()["new"]


def test_a_killed_server_has_all_that_it_acknowledged_and_nothing_in_part(
    tmp_path: Path, port: int
) -> None:
    folder = tmp_path / "x"
    oracle = new_extractor()
    oracle.save(folder)
    learnt = 0
    for pause in (0.0, 0.013, 0.031, 0.057):
        known: list[str] = []
        with served(folder, port=port) as process:
            teacher = threading.Thread(target=teach, args=(port, learnt, known))
            teacher.start()
            while len(known) < 2:
                time.sleep(0.001)
            time.sleep(pause)
            process.kill()
            teacher.join()
        kept = Extractor.load(folder)
        count = len(kept.types) - 1 - learnt
        assert len(known) <= count <= len(known) + 1  # one more may be kept and not be told
        for number in range(learnt, learnt + count):
            oracle.learn(lesson(number))
        learnt += count
        assert (kept.types, kept.model) == (oracle.types, oracle.model)
        assert kept(TEXT) == oracle(TEXT)


def test_an_extraction_sees_what_was_learnt_before_it_or_after_it(
    tmp_path: Path, port: int
) -> None:
    folder = tmp_path / "x"
    oracle = new_extractor()
    oracle.save(folder)
    states = {oracle.model: oracle(TEXT).to_dict()}
    for number in range(12):
        oracle.learn(lesson(number))
        states[oracle.model] = oracle(TEXT).to_dict()
    seen: list[dict[str, Any]] = []
    done = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            while not done.is_set():
                seen.extend(client.post("/extract", json={"texts": [TEXT]}).json())

    with served(folder, port=port):
        askers = [threading.Thread(target=ask) for _ in range(3)]
        for asker in askers:
            asker.start()
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=HEAD, timeout=60) as client:
            for number in range(12):
                assert client.post("/learn", json={"samples": lesson(number)}).status_code == 200
        done.set()
        for asker in askers:
            asker.join()
    assert len({one["model"] for one in seen}) > 1

    def plain(one: dict[str, Any]) -> list[tuple[Any, ...]]:
        return [(e["type"], e["start"], e["end"], round(e["score"], 4)) for e in one["entities"]]

    assert all(plain(one) == plain(states[one["model"]]) for one in seen)


def test_a_stopped_server_answers_what_it_was_asked(tmp_path: Path, port: int) -> None:
    new_extractor().save(tmp_path / "x")
    body = b'{"texts": ["Ann lives in Rome"]}'
    head = (
        "POST /extract HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    with served(tmp_path / "x", port=port) as process:
        with socket.create_connection(("127.0.0.1", port)) as rubbish:
            rubbish.sendall(b"\0\xff rubbish\r\n\r\n")
            assert b" 400 " in rubbish.recv(100)
        with socket.create_connection(("127.0.0.1", port), timeout=60) as asked:
            asked.sendall(head.encode() + body[:9])
            time.sleep(0.3)
            assert process.pid is not None
            os.kill(process.pid, signal.SIGTERM)
            time.sleep(0.3)
            with pytest.raises(httpx.TransportError):
                httpx.get(f"http://127.0.0.1:{port}/health")
            asked.sendall(body[9:])
            answer = b""
            while part := asked.recv(10_000):
                answer += part
        assert b" 200 OK" in answer
        assert b'"type":"PER"' in answer
        process.join(60)
        assert process.exitcode in (0, -signal.SIGTERM)
