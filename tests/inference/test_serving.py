"""The server: answers, refuses, and has kept what it acknowledged."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from people import OTHERS

from mkgc_cl.inference import Extractor, keeping, learning, serving
from mkgc_cl.inference.serving import Service, app

HEAD = {"Authorization": "Bearer secret"}


@pytest.fixture
def client(taught: Extractor, tmp_path: Path) -> TestClient:
    """A client of a server whose token is ``secret``."""
    taught.save(tmp_path / "x")
    service = Service(tmp_path / "x")
    return TestClient(app(service, token="secret"), raise_server_exceptions=False)  # noqa: S106


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
