"""What is written is read back to the bit, and what is damaged is found before it is used."""

from __future__ import annotations

import errno
import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mkgc_cl.checkpoints.folder import CheckpointFolder, _digest
from mkgc_cl.checkpoints.packing import pack, unpack
from mkgc_cl.errors import ConfigError, DataError, MissingDataError, OutputError
from mkgc_cl.inference import folders


def write(folder: CheckpointFolder, number: int) -> Path:
    with folder.writing():
        same = folder.put("same", {"weight": torch.arange(3.0)})
        own = folder.put("own", [torch.tensor(float(number))])
        return folder.write({"number": number, "parts": [same, own]})


def read(folder: CheckpointFolder) -> float:
    _, body = folder.require()
    weight = folder.get(body["parts"][0])["weight"]
    assert torch.equal(weight, torch.arange(3.0))
    (number,) = folder.get(body["parts"][1])
    assert number == body["number"]
    return float(number)


def test_states_come_back_as_they_were() -> None:
    shared = torch.arange(6.0)
    state = {
        "bits": torch.tensor([0.1, float("nan")], dtype=torch.float64),
        "views": [shared[:3], shared[3:]],
        0: (1, None, "text", True, 1e-300, float("inf")),
        "empty": {},
        "generator": torch.Generator().manual_seed(3).get_state(),
    }
    plain, tensors = pack(state)
    again = unpack(json.loads(json.dumps(plain)), tensors, device="cpu")
    assert list(again) == list(state)
    assert again[0] == state[0]
    assert again["empty"] == {}
    assert torch.equal(again["bits"], state["bits"]) is False  # NaN is not NaN
    torch.testing.assert_close(again["bits"], state["bits"], rtol=0, atol=0, equal_nan=True)
    assert torch.equal(again["views"][1], shared[3:])
    assert torch.equal(again["generator"], state["generator"])


def test_what_a_checkpoint_cannot_hold_is_named() -> None:
    with pytest.raises(ConfigError, match=r"state\.plugin\[1\] is a set"):
        pack({"plugin": [1, {2}]})
    with pytest.raises(ConfigError, match=r"Mine\.weight is a sparse"):
        pack({"weight": torch.eye(2).to_sparse()}, "Mine")


def test_a_tensor_with_gaps_is_kept(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    turned = torch.arange(6.0).view(2, 3).T
    with folder.writing():
        part = folder.put("own", {"turned": turned, "every": turned[::2]})
    again = folder.get(part)
    assert torch.equal(again["turned"], turned)
    assert torch.equal(again["every"], turned[::2])


def test_a_full_disk_keeps_no_parts_of_what_did_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = CheckpointFolder(tmp_path)
    write(folder, 1)
    before = sorted(tmp_path.iterdir())
    (tmp_path / ".mkgc-of-a-killed-process.tmp").touch()
    real = folders.write_atomic

    def full(path: Path, data: bytes) -> None:
        real(path, data)
        if "own" in path.name:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(folders, "write_atomic", full)
    with pytest.raises(OutputError, match="No space left on device"):
        write(folder, 2)
    assert sorted(tmp_path.iterdir()) == before
    assert read(folder) == 1


def test_the_last_two_are_kept_and_shared_parts_once(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    for number in range(1, 5):
        write(folder, number)
    assert read(CheckpointFolder(tmp_path)) == 4
    names = sorted(path.name for path in tmp_path.glob("checkpoint-*"))
    assert [n for n in names if n.endswith("json")] == [
        "checkpoint-000003.json", "checkpoint-000004.json"
    ]  # fmt: skip
    assert sum(name.startswith("checkpoint-same-") for name in names) == 1
    assert sum(name.startswith("checkpoint-own-") for name in names) == 2


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def foreign(path: Path) -> None:
    path.write_text('{"records": []}')


def newer(path: Path) -> None:
    body = json.loads(path.read_text())["body"] | {"format": "mkgc_cl.checkpoint/2"}
    path.write_text(json.dumps({"digest": _digest(body), "body": body}))


@pytest.mark.parametrize(
    ("act", "what", "said"),
    [
        (flipped, "json", "damaged"),
        (truncated, "json", "damaged"),
        (foreign, "json", "no checkpoint"),
        (newer, "json", "expected format mkgc_cl.checkpoint/1, found 'mkgc_cl.checkpoint/2'"),
        (flipped, "safetensors", "truncated, damaged"),
        (truncated, "safetensors", "truncated, damaged"),
        (Path.unlink, "safetensors", "checkpoint-own"),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)).split()[0],
)
def test_a_damaged_one_is_told_and_the_one_before_is_used(
    act: Callable[[Path], None], what: str, said: str, tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    folder = CheckpointFolder(tmp_path)
    first, last = write(folder, 1), write(folder, 2)
    files = [file["tensors"]["file"] for file in json.loads(last.read_text())["body"]["parts"]]
    act(last if what == "json" else tmp_path / files[1])
    caplog.set_level(logging.WARNING)
    again = CheckpointFolder(tmp_path)
    assert read(again) == 1
    (message,) = caplog.messages
    assert said in message
    assert message.endswith(f"going on from the checkpoint before, {first.name}")
    # what is written anew is whole, though a damaged file has its name
    write(again, 2)
    assert read(CheckpointFolder(tmp_path)) == 2
    kept = [json.loads(p.read_text())["body"]["number"] for p in tmp_path.glob("*.json")]
    assert sorted(kept) == [1, 2]


def test_none_that_is_whole_is_an_error_that_names_each(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    paths = [write(folder, 1), write(folder, 2)]
    for path in paths:
        truncated(path)
    with pytest.raises(DataError, match="none of its checkpoints can be used") as caught:
        CheckpointFolder(tmp_path).newest()
    assert caught.value.path == tmp_path
    assert all(path.name in str(caught.value) for path in paths)


def test_a_folder_without_any_and_one_of_a_saved_model(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path / "none")
    assert folder.newest() is None
    with pytest.raises(MissingDataError):
        folder.require()
    (tmp_path / "config.json").write_text('{"format": "mkgc_cl.model/1"}')
    with pytest.raises(OutputError, match="holds something else"):
        write(CheckpointFolder(tmp_path), 1)
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="a checkpoint cannot be written"):
        write(CheckpointFolder(tmp_path / "file" / "deeper"), 1)
