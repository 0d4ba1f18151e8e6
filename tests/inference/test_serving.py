"""The server: answers, refuses, and has kept what it acknowledged."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from people import OTHERS

from mkgc_cl.errors import ConfigError, DataError
from mkgc_cl.inference import Extractor, folders, keeping, learning, serving
from mkgc_cl.inference.folders import saving
from mkgc_cl.inference.keeping import FORMAT
from mkgc_cl.inference.serving import Service, app

HEAD = {"Authorization": "Bearer secret"}


@pytest.fixture
def client(taught: Extractor, tmp_path: Path) -> TestClient:
    """A client of a server whose token is ``secret``."""
    taught.save(tmp_path / "x")
    service = Service(tmp_path / "x")
    return TestClient(app(service, token="secret"), raise_server_exceptions=False)  # noqa: S106


@pytest.mark.slow
def test_it_extracts_what_the_extractor_extracts(client: TestClient, taught: Extractor) -> None:
    texts = ["Ann lives in Rome", "", {"tokens": ["Bo", "dies", "in", "Lima"]}]
    answer = client.post("/extract", json={"texts": texts})
    assert answer.status_code == 200
    assert [one["text"] for one in answer.json()] == ["Ann lives in Rome", "", "Bo dies in Lima"]
    assert answer.json()[0]["entities"][0]["type"] == taught(texts[0]).entities[0].type
    health = client.get("/health").json()
    assert (health["status"], health["types"]) == ("ok", ["PER", "LOC"])
    assert "/extract" in client.get("/openapi.json").json()["paths"]


@pytest.mark.parametrize(
    "body",
    [{}, {"texts": "Ann"}, {"texts": [7]}, {"texts": ["a"] * 300}, {"texts": ["a" * 10**5, "b"]}],
)
def test_what_is_no_text_is_refused(client: TestClient, body: object) -> None:
    answer = client.post("/extract", json=body)
    assert answer.status_code == 422
    assert answer.json()["error"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "body",
    [
        b"NaN",
        b"[1]",
        b"",
        b"{",
        b"[" * 100_000,
        b"\xff\xfe{}",
        b'{"texts": ["\xff"]}',
        b'{"texts": [NaN]}',
        b'{"texts": [1' + b"0" * 5000 + b"]}",
        b'{"texts": ["\\ud800"]}',
        b'{"texts": [{"text": "Ann", "uid": "\\ud800"}]}',
        b'{"texts": [{"text": "Ann", "image": "\\ud800"}]}',
        b'{"texts": [{"text": "Ann", "entities": [[NaN, 1, "PER"]]}]}',
    ],
)
@pytest.mark.parametrize("path", ["/extract", "/learn"])
def test_what_is_malformed_is_refused_in_words(client: TestClient, path: str, body: bytes) -> None:
    body = body.replace(b"texts", b"samples") if path == "/learn" else body
    before = client.get("/health").json()
    json_ = {"Content-Type": "application/json", **HEAD}
    answer = client.post(path, content=body, headers=json_)
    assert answer.status_code == 422
    assert len(answer.json()["error"]) < 300
    assert client.get("/health").json() == before
    assert client.post("/extract", json={"texts": ["Ann"]}).status_code == 200


@pytest.mark.parametrize("head", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "é"}])
def test_who_has_no_token_teaches_nothing(client: TestClient, head: dict[str, str]) -> None:
    head = {name: value.encode() for name, value in head.items()}  # type: ignore[misc]
    before = client.get("/health").json()
    assert client.post("/learn", json={"samples": OTHERS}, headers=head).status_code == 401
    assert client.get("/health").json() == before


@pytest.mark.slow
def test_a_token_may_be_any_text(taught: Extractor, tmp_path: Path) -> None:
    taught.save(tmp_path / "x")
    client = TestClient(app(Service(tmp_path / "x"), token="schlüssel"))  # noqa: S106
    head = {"Authorization": "Bearer schlüssel".encode()}
    assert client.post("/learn", json={"samples": OTHERS}, headers=head).status_code == 200


@pytest.mark.slow
def test_a_task_is_text(client: TestClient) -> None:
    body = b'{"samples": [{"tokens": ["Bo"], "entities": [[0, 1, "HERO"]]}], "task": "\\ud800"}'
    assert client.post("/learn", content=body, headers=HEAD).status_code == 422
    assert client.get("/health").json()["types"] == ["PER", "LOC"]


@pytest.mark.slow
def test_texts_that_wait_are_read_together_and_answered_apart(
    taught: Extractor, tmp_path: Path
) -> None:
    taught.save(tmp_path / "x")
    service = Service(tmp_path / "x")
    texts: list[list[Any]] = [["Ann lives in Rome"], ["Bo dies in Lima", "Ann"], [7], []]
    with ThreadPoolExecutor(4) as pool:
        with service._lock:  # as one who learns holds it
            answers = [pool.submit(service.extract, some) for some in texts]
            while len(service._asked) < 4:
                time.sleep(0.01)
        found = [answer.exception() or answer.result() for answer in answers]
    assert isinstance(found[2], DataError)
    for some, own in zip(texts, found, strict=True):
        if some != [7]:
            assert own == [one.to_dict() for one in taught(some)]


@pytest.mark.slow
def test_what_others_taught_is_served_and_not_lost(client: TestClient, tmp_path: Path) -> None:
    with Extractor.editing(tmp_path / "x") as other:
        other.learn([{"tokens": ["Oslo", "ski"], "entities": [(1, 2, "SPORT")]}])
    found = client.post("/extract", json={"texts": ["Ann"]}).json()
    assert found[0]["model"] == other.model == client.get("/health").json()["model"]
    with Extractor.editing(tmp_path / "x") as other:
        other.learn([{"tokens": ["Oslo", "hop"], "entities": [(1, 2, "DANCE")]}])
    new = [{"tokens": ["Bo"], "entities": [(0, 1, "HERO")]}]
    assert client.post("/learn", json={"samples": new}, headers=HEAD).status_code == 200
    assert client.get("/health").json()["types"] == ["PER", "LOC", "SPORT", "DANCE", "HERO"]
    assert Extractor.load(tmp_path / "x").types == ("PER", "LOC", "SPORT", "DANCE", "HERO")


@pytest.mark.slow
def test_two_servers_of_one_folder_learn_from_each_other(taught: Extractor, tmp_path: Path) -> None:
    taught.save(tmp_path / "x")
    one, other = Service(tmp_path / "x"), Service(tmp_path / "x")
    for server, name in ((one, "A"), (other, "B"), (one, "C")):
        server.learn([{"tokens": ["Bo"], "entities": [(0, 1, name)]}], None, None)
    for server in (one, other):
        (found,) = server.extract(["Ann"])
        assert found["model"] == Extractor.load(tmp_path / "x").model
        assert server.health()["types"] == ["PER", "LOC", "A", "B", "C"]


@pytest.mark.slow
def test_texts_are_answered_while_another_process_is_waited_for(
    client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = {"samples": [{"tokens": ["Bo"], "entities": [(0, 1, "HERO")]}]}
    with ThreadPoolExecutor(1) as pool:
        with saving(tmp_path / "x", FORMAT):  # as mkgc learn holds it
            waits = pool.submit(client.post, "/learn", json=new, headers=HEAD)
            time.sleep(0.2)
            assert client.post("/extract", json={"texts": ["Ann"]}).status_code == 200
            assert not waits.done()
        assert waits.result().status_code == 200
    monkeypatch.setattr(folders, "PATIENCE", 0)
    with saving(tmp_path / "x", FORMAT):
        late = client.post("/learn", json=new, headers=HEAD)
    assert late.status_code == 503
    assert "try again" in late.json()["error"]


def test_a_folder_that_is_gone_is_served_on(client: TestClient, tmp_path: Path) -> None:
    (tmp_path / "x").rename(tmp_path / "y")
    assert client.post("/extract", json={"texts": ["Ann"]}).status_code == 200


def test_there_is_a_thread(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least one thread"):
        serving.run(tmp_path, host="127.0.0.1", port=1, token_file=None, threads=0)


@pytest.mark.slow
def test_what_is_acknowledged_is_kept(client: TestClient, tmp_path: Path) -> None:
    assert client.post("/learn", json={"samples": OTHERS}).status_code == 401
    new = [{**one, "entities": [(0, 1, "HERO")], "relations": None} for one in OTHERS]
    answer = client.post("/learn", json={"samples": new, "task": "heroes"}, headers=HEAD)
    assert answer.status_code == 200
    assert answer.json()["new"] == ["HERO"]
    again = Extractor.load(tmp_path / "x")
    assert again.tasks["HERO"] == "heroes"
    assert again.model == answer.json()["model"] == client.get("/health").json()["model"]
    for wrong in ({"samples": [7]}, {"samples": "x"}, {"samples": [], "types": "PER"}):
        assert client.post("/learn", json=wrong, headers=HEAD).status_code == 422


@pytest.mark.slow
def test_what_cannot_be_kept_is_not_learnt(
    client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = client.get("/health").json()

    def full(*given: object, **facts: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keeping, "save_extractor", full)
    new = [{**OTHERS[0], "entities": [(0, 1, "HERO")], "relations": None}]
    assert client.post("/learn", json={"samples": new}, headers=HEAD).status_code == 500
    assert client.get("/health").json() == before


@pytest.mark.slow
def test_what_is_half_learnt_is_not_served(
    client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = client.post("/extract", json={"texts": ["Ann lives in Rome"]}).json()

    def broken(*given: object) -> None:
        raise RuntimeError("in the middle of it")

    # the tags are learnt by then
    monkeypatch.setattr(learning, "relation_readings", broken)
    assert client.post("/learn", json={"samples": OTHERS}, headers=HEAD).status_code == 500
    monkeypatch.undo()
    assert client.post("/extract", json={"texts": ["Ann lives in Rome"]}).json() == before


@pytest.mark.slow
def test_a_body_without_an_end_is_refused(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "MOST_BYTES", 1000)
    texts = {"texts": ["a"] * 300}
    for path in ("/extract", "/learn"):
        assert client.post(path, json=texts).status_code == 413
        chunks = (b" " * 600 for _ in range(2))
        assert client.post(path, content=chunks).status_code == 413
    assert client.post("/extract", json={"texts": ["Ann"]}).status_code == 200


def test_health_waits_for_nobody(taught: Extractor, tmp_path: Path) -> None:
    taught.save(tmp_path / "x")
    service = Service(tmp_path / "x")
    with service._lock:  # as one who learns holds it
        assert service.health()["types"] == ["PER", "LOC"]
