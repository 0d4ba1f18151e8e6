"""The data check: what it reports, what it returns, what it never imports."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from mkgc_cl.data import TaskStream, imner_stream, imre_stream
from mkgc_cl.data.__main__ import main
from mkgc_cl.data.check import check_data
from mkgc_cl.data.locate import MrePaths
from mkgc_cl.errors import DataError

Edit = Callable[[str, Callable[[str], str]], Path]


def report(root: Path, capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, object]:
    code = main(["check", str(root), "--json", *options])
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    assert found["exit_code"] == code
    return found


def test_a_sound_download_without_images_is_usable(
    download: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = report(download, capsys)
    assert found["exit_code"] == 0
    assert found["problems"] == []
    remarks = {item["path"]: item["remark"] for item in found["missing"]}  # type: ignore[attr-defined]
    assert remarks["MRE/data/txt/sep10"] == "the released split of imre(..., tasks=10)"
    first = "MRE/data/img_org/train/train_0.jpg"
    assert remarks[first] == "the first of 160 of 160 MRE images that are missing"


def test_every_snippet_it_prints_runs(download: Path) -> None:
    names: dict[str, Callable[..., TaskStream]] = {"imre": imre_stream, "imner": imner_stream}
    snippets = [code for code, _ in check_data(download).run]
    assert len(snippets) == 7  # without their folders sep10 and sep7 are built
    for code in snippets:
        call = ast.parse(code, mode="eval").body
        assert isinstance(call, ast.Call)
        assert isinstance(call.func, ast.Name)
        settings = {str(item.arg): ast.literal_eval(item.value) for item in call.keywords}
        (root,) = map(ast.literal_eval, call.args)
        assert names[call.func.id](root, **settings).tasks


def test_text_output_names_everything(
    download: Path, edit: Edit, capsys: pytest.CaptureFixture[str]
) -> None:
    edit("MRE/data/txt/ours_val.txt", lambda text: text.replace("'Rome'", "'Rome", 3))
    assert main(["check", str(download), "--limit", "2"]) == 1
    out = capsys.readouterr().out
    assert "malformed (3)" in out
    assert f"{download}/MRE/data/txt/ours_val.txt:2: expected one Python dict literal" in out
    assert "... and 1 more" in out
    assert "from mkgc_cl.scenarios import imner\n" in out
    assert "imre(" not in out.split("can be run")[1]


def test_all_problems_are_listed_not_only_the_first(download: Path, edit: Edit) -> None:
    mner = "MNER/data/twitter2017"
    edit("MRE/data/txt/ours_train.txt", lambda text: text.replace("[3, 4]", "[4, 4]", 5))
    edit(f"{mner}/train.txt", lambda text: text.replace("I-PER", "I-LOC").replace("hires\tO", "x"))
    lost = download / mner / "sep-PLOM/valid_2.txt"
    lost.unlink()
    found = check_data(download)
    lines = [(error.path.name, error.line) for error in found.problems if error.path]
    assert lines == [
        *(("ours_train.txt", i) for i in range(1, 6)),
        ("train.txt", 13),
        ("train.txt", 3),
    ]


def test_one_bad_split_leaves_the_others_usable(download: Path, edit: Edit) -> None:
    edit("MNER/data/twitter2017/sep-PLOM/train_0.txt", lambda text: text.replace("B-PER", "O", 1))
    edit("MNER/data/twitter2017/sep-PLOM/test_3.txt", lambda text: text.replace("Rome", "Oslo", 1))
    found = check_data(download)
    assert found.exit_code == 1
    assert len(found.problems) == 3
    runnable = "\n".join(code for code, _ in found.run)
    assert "('PER', 'ORG', 'LOC', 'MISC')" in runnable
    assert "('PER', 'LOC', 'ORG', 'MISC')" not in runnable


def test_an_image_id_that_no_file_has_costs_its_line_alone(
    download: Path, edit: Edit, capsys: pytest.CaptureFixture[str]
) -> None:
    edit("MRE/data/txt/ours_train.txt", lambda text: text.replace("'train_3.", r"'\ud83d", 1))
    assert main(["check", str(download)]) == 1
    out = capsys.readouterr().out
    assert "ours_train.txt:4: expected a plain file name in 'img_id', found '\\ud83d" in out
    assert "imner(" in out.split("can be run")[1]


def test_a_folder_whose_name_the_terminal_cannot_show(
    download: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = download.rename(download.with_name("d\udcff"))
    assert main(["check", str(odd)]) == 0
    assert capsys.readouterr().out.startswith(f"{download.parent}/d\\udcff\n")


@pytest.mark.timeout(60)
def test_what_is_no_file_is_malformed_and_not_waited_for(download: Path) -> None:
    train = download / "MNER/data/twitter2017/train.txt"
    crops = download / "MRE/data/txt/mre_train_dict.pth"
    part = download / "MRE/data/txt/sep5/ours_val_2.txt"
    names = download / "MRE/data/ours_rel2id.json"
    for path in (train, crops, part, names):
        path.unlink(missing_ok=True)
        os.mkfifo(path)
    found = check_data(download)
    assert {error.path for error in found.problems} == {train, crops, part, names}
    assert all("found a named pipe" in str(error) for error in found.problems)
    names.unlink()
    with pytest.raises(DataError, match="found a named pipe"):
        imre_stream(download, tasks=5, missing_images="blank")


def test_images_are_decoded_where_that_is_asked_for(
    download: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mre, mner = download / "MRE/data/img_org/train", download / "MNER/data/twitter2017_images"
    for folder in (mre, mner):
        folder.mkdir(parents=True)
    for path in (mre / "train_0.jpg", mre / "train_1.jpg", mner / "train_3.jpg"):
        Image.new("RGB", (30, 20)).save(path)
    broken = [mre / "train_0.jpg", mner / "train_4.jpg", mner / "valid_0.jpg"]
    for path in broken:
        path.write_bytes((mre / "train_1.jpg").read_bytes()[:200])
    before = report(download, capsys)
    assert before["exit_code"] == 0
    assert "2 of 160 MRE images (not decoded; --images does)" in before["present"]  # type: ignore[operator]
    found = report(download, capsys, "--images")
    assert [problem["path"] for problem in found["problems"]] == [*map(str, broken)]  # type: ignore[attr-defined]
    assert "1 of 160 MRE images (decoded)" in found["present"]  # type: ignore[operator]
    # a blank image stands for a missing one, not for a broken one
    assert (found["run"], found["exit_code"]) == ([], 2)
    broken[0].unlink()
    found = report(download, capsys, "--images")
    assert {entry["code"][:5] for entry in found["run"]} == {"imre("}  # type: ignore[attr-defined]
    assert found["exit_code"] == 1


def test_crops_are_decoded_with_the_images(with_crops: Path) -> None:
    sound = check_data(with_crops, crops=True)
    assert (sound.problems, bool(sound.run)) == ([], True)
    found = check_data(with_crops, crops=True, images=True)
    (problem,) = found.problems
    assert (problem.path and problem.path.name, found.run) == ("0_b.png", sound.run)


@pytest.fixture
def with_crops(download: Path) -> Path:
    """Two grounding crops of the first training sample, one of them broken; no other has any."""
    folder = download / "MRE/data/img_vg/train/crops"
    folder.mkdir(parents=True)
    Image.new("RGB", (30, 20)).save(folder / "0_a.png")
    (folder / "0_b.png").write_bytes((folder / "0_a.png").read_bytes()[:50])
    crops = {row: ["0_a.png", "0_b.png"] if row == 0 else [] for row in range(80)}
    torch.save(crops, MrePaths(download).grounding_list("train"))
    return download


def test_a_folder_of_images_that_cannot_be_listed(download: Path) -> None:
    images = download / "MNER/data/twitter2017_images"
    images.symlink_to(images.name)  # to itself
    found = check_data(download)
    (problem,) = found.problems
    assert (problem.path, "cannot be listed" in str(problem)) == (images, True)
    assert found.run
    assert not any(code.startswith("imner") for code, _ in found.run)
    with pytest.raises(DataError, match="cannot be listed"):
        imner_stream(download, missing_images="blank")


def test_a_lost_split_file_is_missing_not_malformed(download: Path) -> None:
    (download / "MRE/data/txt/sep5/ours_test_2.txt").unlink()
    found = check_data(download)
    assert (
        "MRE/data/txt/sep5/ours_test_2.txt",
        "the released split of imre(..., tasks=5)",
    ) in found.missing
    assert not found.problems
    assert not any("tasks=5" in code for code, _ in found.run)
    assert any("tasks=8, seed=0" in code for code, _ in found.run)


def test_a_type_without_training_samples_cannot_be_run(download: Path, edit: Edit) -> None:
    mner = "MNER/data/twitter2017"
    edit(f"{mner}/train.txt", lambda text: text.replace("B-MISC", "O"))
    for folder in ("sep-PLOM", "sep-POLM-NEW"):
        edit(f"{mner}/{folder}/train_3.txt", lambda text: text.replace("B-MISC", "O"))
    found = check_data(download)
    assert not any(code.startswith("imner") for code, _ in found.run)
    assert any("'MISC'" in str(problem) for problem in found.problems)


def test_full_files_alone_can_be_run(download: Path) -> None:
    for folder in ("MRE/data/txt/sep5", "MNER/data/twitter2017/sep-PLOM"):
        shutil.rmtree(download / folder)
    found = check_data(download)
    runnable = "\n".join(code for code, _ in found.run)
    assert "tasks=5" in runnable
    assert "('PER', 'LOC', 'ORG', 'MISC')" in runnable
    stream = imre_stream(download, tasks=5, missing_images="blank")
    assert stream.provenance["source"] == "built from the full files"
    with pytest.raises(DataError, match="sep5"):
        imre_stream(download, tasks=5, build=False, missing_images="blank")


def test_another_corpus_in_the_same_format(tmp_path: Path) -> None:
    mre, mner = tmp_path / "MRE/data/txt", tmp_path / "MNER/data/twitter2017"
    mre.mkdir(parents=True)
    mner.mkdir(parents=True)
    for split in ("train", "val", "test"):
        rows = [
            {
                "token": ["a", split, str(i)],
                "h": {"name": "a", "pos": [0, 1]},
                "t": {"name": split, "pos": [1, 2]},
                "img_id": i,
                "relation": name,
            }
            for i, name in enumerate(["owns", "None", "met"])
        ]
        (mre / f"ours_{split}.txt").write_text("".join(f"{row}\n" for row in rows))
    for split in ("train", "valid", "test"):
        text = "IMGID: 1\nAnn\tI-person\nLee\tI-person\n\nIMGID:2\nRome\tI-geo-loc\n\xa0\tO\n"
        (mner / f"{split}.txt").write_text(text + "Bo\tI-person\n")
    found = check_data(tmp_path)
    assert found.problems == []
    assert [code.split(", ", 1)[1] for code, _ in found.run] == [
        'tasks=2, seed=0, missing_images="blank")',
        "order=('person', 'geo-loc'), missing_images=\"blank\")",
    ]
    stream = imner_stream(tmp_path, missing_images="blank")
    assert (stream.provenance["scheme"], stream.labels.classes) == ("IOB1", ("person", "geo-loc"))
    # a sentence goes to the task of its rarest type
    assert [s.tags for t in stream.tasks for s in t.train] == [  # type: ignore[union-attr]
        ("B-person", "I-person"),
        ("B-geo-loc", "O", "O"),
    ]
    assert imre_stream(tmp_path, tasks=2, seed=0, missing_images="blank").tasks


def test_stray_tags_are_repaired_on_request(download: Path) -> None:
    """In the full files and in the released ones, which then fit together."""
    folder = download / "MNER" / "data" / "twitter2017"
    for path in folder.rglob("train*.txt"):
        path.write_text(path.read_text().replace("Rome\tB-LOC\ngreets", "Rome\tI-LOC\ngreets"))
    assert {error.path.name for error in check_data(download).problems} == {"train.txt"}  # type: ignore[union-attr]
    found = check_data(download, repair="conlleval")
    assert found.problems == []
    assert "repaired, conlleval: 1" in found.present
    calls = [code for code, _ in found.run if code.startswith("imner")]
    assert len(calls) == 3
    assert all("repair='conlleval'" in code for code in calls)
    assert not any("repair=" in code for code, _ in found.run if code.startswith("imre"))


def test_an_empty_folder_runs_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = report(tmp_path, capsys)
    assert found["exit_code"] == 2
    assert found["run"] == []
    assert [item["path"] for item in found["missing"]] == [  # type: ignore[attr-defined]
        "MRE/data",
        "MNER/data/twitter2017",
    ]


def test_no_folder_is_an_answer_not_a_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["check", str(tmp_path / "gone")]) == 2
    assert "MKGC_DATA" in capsys.readouterr().err
    monkeypatch.delenv("MKGC_DATA", raising=False)
    assert main(["check"]) == 2
    assert "pass the folder" in capsys.readouterr().err


def test_root_defaults_to_the_environment(
    download: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MKGC_DATA", str(download))
    assert main(["check"]) == 0
    assert capsys.readouterr().out.startswith(str(download))


@pytest.mark.slow
@pytest.mark.data
def test_the_public_files_are_sound_and_neither_torch_nor_avalanche_is_imported(
    data_root: Path,
) -> None:
    code = (
        "import sys; from mkgc_cl.data.__main__ import main; "
        "code = main(['check', sys.argv[1]]); "
        "heavy = {'torch', 'avalanche', 'numpy', 'PIL', 'transformers'} & set(sys.modules); "
        "sys.exit(f'imported {heavy}' if heavy else code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(data_root)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for line in (
        "MRE/data/txt/ours_train.txt: 12,247 samples",
        "MRE/data/txt/sep10: 30 split files",
        "MRE/data/txt/sep7: 21 split files",
        "MRE/data/txt/sep5: 15 split files",
        "MNER/data/twitter2017/sep-PLOM: 12 split files",
        "MNER/data/twitter2017/sep-POLM-NEW: 12 split files",
    ):
        assert line in done.stdout
    assert "malformed" not in done.stdout
