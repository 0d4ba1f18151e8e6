"""Crops: dictionaries, the join by identity, the released code's join, and the image policy."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch

from mkgc_cl.data import imner_stream, imre_stream
from mkgc_cl.data.crops import read_image_crops, read_row_crops
from mkgc_cl.data.images import BLANK, FileImage
from mkgc_cl.data.locate import MRE_SPLITS, MnerPaths, MrePaths
from mkgc_cl.data.mre import read_mre
from mkgc_cl.data.released_imre import read_released_imre
from mkgc_cl.data.samples import Sample, TaskStream
from mkgc_cl.data.textfile import read_text
from mkgc_cl.errors import ImageError


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def names(stream: TaskStream, uid: str) -> tuple[str, list[str], list[str]]:
    """File names of the images of a sample: image, grounding, detected."""
    visual = by_uid(stream)[uid].visual
    whole = "" if visual.image is None else Path(visual.image.key).name
    return (
        whole,
        [Path(source.key).name for source in visual.grounding],
        [Path(source.key).name for source in visual.detected],
    )


def by_uid(stream: TaskStream) -> dict[str, Sample]:
    return {s.uid: s for t in stream.tasks for part in (t.train, t.valid, t.test) for s in part}


@pytest.fixture
def with_mre_crops(download: Path) -> Path:
    """Five grounding crops for even rows, two for odd ones; detections for even ones only."""
    paths = MrePaths(download)
    for split in MRE_SPLITS:
        rows = read_mre(paths.full(split), split=split)
        grounding = {
            i: [f"{i}_pred_yolo_crop_{k}.png" for k in range(2 if i % 2 else 5)]
            for i in range(len(rows))
        }
        detected = {
            row.image.split(".")[0]: [
                f"img_detect/{split}/crops/{row.image}_{k}.jpg" for k in range(4)
            ]
            for row in rows[::2]
        }
        torch.save(grounding, paths.grounding_list(split))
        paths.detected_list(split).parent.mkdir(parents=True, exist_ok=True)
        torch.save(detected, paths.detected_list(split))
        for row in rows:
            touch(Path(paths.images(split)[0]) / row.image)
        for crops in grounding.values():
            for name in crops[:3]:
                touch(Path(paths.grounding(split)[0]) / name)
        for crops in detected.values():
            for name in crops[:3]:
                touch(paths.data / name)
    return download


@pytest.mark.parametrize("images", ["image", "crops", "image+crops"])
def test_mre_images_are_joined_by_identity(with_mre_crops: Path, images: str) -> None:
    stream = imre_stream(with_mre_crops, tasks=5, images=images)  # type: ignore[arg-type]
    assert stream.provenance["images"] == images
    assert stream.provenance["image_files_blank"] == 0
    for uid in by_uid(stream):
        _, split, number = uid.split("/")
        row = int(number)
        whole, grounding, detected = names(stream, uid)
        image = f"{split}_{row}.jpg"
        assert whole == ("" if images == "crops" else image)
        if images == "image":
            assert grounding == detected == []
            continue
        count = 2 if row % 2 else 3
        assert grounding == [f"{row}_pred_yolo_crop_{k}.png" for k in range(count)]
        assert detected == ([] if row % 2 else [f"{image}_{k}.jpg" for k in range(3)])


def test_split_row_takes_the_crops_of_the_line_number(with_mre_crops: Path) -> None:
    stream = imre_stream(with_mre_crops, tasks=5, images="crops", crop_index="split-row")
    assert stream.provenance["crop_index"] == "split-row"
    for part in ("train", "valid"):
        for task in stream.tasks:
            for line, sample in enumerate(getattr(task, part)):
                prefixes = {Path(crop.key).name.split("_")[0] for crop in sample.visual.grounding}
                assert prefixes == {str(line)}
                # Detected crops go by image in the released code, too: they are right.
                row = int(sample.uid.split("/")[2])
                assert len(sample.visual.detected) == (0 if row % 2 else 3)
    # In a test file, line numbers are those of the cumulative file.
    cumulative = (with_mre_crops / "MRE/data/txt/sep5/ours_test_1.txt").read_text().splitlines()
    first = stream.tasks[1].test[0]
    (line,) = [
        i for i, text in enumerate(cumulative) if f"test_{first.uid.split('/')[2]}.jpg" in text
    ]
    assert {Path(crop.key).name.split("_")[0] for crop in first.visual.grounding} == {str(line)}


def test_missing_crops_are_counted_and_blank_where_wished(with_mre_crops: Path) -> None:
    gone = sorted((with_mre_crops / "MRE/data/img_vg/train/crops").iterdir())[:3]
    for path in gone:
        path.unlink()
    with pytest.raises(ImageError, match=r"3 of [\d,]+ images are missing.*img_vg/train/crops"):
        imre_stream(with_mre_crops, tasks=5, images="crops")
    stream = imre_stream(with_mre_crops, tasks=5, images="crops", missing_images="blank")
    assert stream.provenance["image_files_blank"] == 3
    sources = [crop for s in by_uid(stream).values() for crop in s.visual.grounding]
    assert sum(source is BLANK for source in sources) == 3


def test_without_dictionaries_blank_stands_for_the_crops(download: Path) -> None:
    for stream in (
        imre_stream(download, tasks=5, images="image+crops", missing_images="blank"),
        imner_stream(download, images="image+crops", missing_images="blank"),
    ):
        for sample in by_uid(stream).values():
            assert sample.visual.image is BLANK
            assert sample.visual.grounding == sample.visual.detected == (BLANK,) * 3


@pytest.mark.parametrize("base", ["MNER/data", "MNER/data/twitter2017"])
def test_mner_images_are_found_in_both_layouts(download: Path, base: str) -> None:
    """run.py of the released code and its README put the folders in different places."""
    paths, folder = MnerPaths(download), download / base
    for split, short in (("train", "train"), ("valid", "val"), ("test", "test")):
        torch.save({f"{split}_0.jpg": ["a.png", "b.png"]}, paths.grounding_list(split))
        assert paths.grounding_list(split).name == f"twitter2017_{short}_dict.pth"
        for name in ("a.png", "b.png"):
            touch(folder / "twitter2017_aux_images" / short / "crops" / name)
        for i in range(6):
            touch(folder / "twitter2017_images" / f"{split}_{i}.jpg")
    (folder / "twitter17_detect").mkdir()
    torch.save(
        {"train_1": ["twitter17_detect/x.jpg"]}, folder / "twitter17_detect/twitter17_img2crop.pth"
    )
    touch(folder / "twitter17_detect/x.jpg")
    stream = imner_stream(download, images="image+crops")
    assert names(stream, "mner/train/0") == ("train_0.jpg", ["a.png", "b.png"], [])
    assert names(stream, "mner/train/1") == ("train_1.jpg", [], ["x.jpg"])
    assert stream.provenance["image_files_blank"] == 0
    image = by_uid(stream)["mner/valid/0"].visual.image
    assert image == FileImage(folder / "twitter2017_images/valid_0.jpg")


def test_an_image_in_the_folder_of_another_split_is_found(download: Path) -> None:
    touch(download / "MRE/data/img_org/test/train_4.jpg")
    stream = imre_stream(download, tasks=5, missing_images="blank")
    visual = by_uid(stream)["mre/train/4"].visual
    assert visual.image == FileImage(download / "MRE/data/img_org/test/train_4.jpg")


def test_dictionaries_are_part_of_the_provenance(with_mre_crops: Path) -> None:
    before = imre_stream(with_mre_crops, tasks=5, images="crops").provenance
    files = before["files"]
    assert isinstance(files, dict)
    assert "MRE/data/txt/mre_dev_dict.pth" in files
    path = MrePaths(with_mre_crops).grounding_list("train")
    table = {i: list(crops[:1]) for i, crops in enumerate(read_row_crops(path, rows=80))}
    torch.save(table, path)
    after = imre_stream(with_mre_crops, tasks=5, images="crops").provenance
    assert after["fingerprint"] != before["fingerprint"]


@pytest.mark.data
@pytest.mark.parametrize(
    ("split", "rows", "crops"),
    [
        ("train", 12_247, {1: 2, 2: 7_823, 3: 786, 4: 3_636}),
        ("val", 1_624, {1: 2, 2: 1_013, 3: 120, 4: 489}),
        ("test", 1_614, {2: 988, 3: 107, 4: 519}),
    ],
)
def test_golden_crop_counts(data_root: Path, split: str, rows: int, crops: dict[int, int]) -> None:
    found = read_row_crops(MrePaths(data_root).grounding_list(split), rows=rows)
    assert Counter(map(len, found)) == crops
    assert all(name.startswith(f"{i}_pred") for i, names in enumerate(found) for name in names)


@pytest.mark.slow
@pytest.mark.data
def test_the_released_join_gives_almost_every_sample_the_crops_of_another(data_root: Path) -> None:
    paths = MrePaths(data_root)
    texts = {split: read_text(paths.full(split)) for split in MRE_SPLITS}
    full = {split: read_mre(paths.full(split), split=split) for split in MRE_SPLITS}
    splits = read_released_imre(paths, 10, full, texts)

    def agree(columns: tuple[tuple[int, ...], ...]) -> tuple[int, int]:
        same = sum(line == row for rows in columns for line, row in enumerate(rows))
        return same, sum(map(len, columns))

    assert agree(splits.train) == (1, 12_233)
    assert agree(splits.valid) == (0, 1_622)
    assert agree(splits.test) == (13, 10_035)


@pytest.mark.slow
@pytest.mark.data
def test_the_stream_uses_the_join_that_was_counted(data_root: Path) -> None:
    """The crop files cannot be had, so this counts crops; the join by name is tested above."""
    stream = imre_stream(data_root, images="crops", missing_images="blank")
    crops = read_row_crops(MrePaths(data_root).grounding_list("train"), rows=12_247)
    for sample in stream.tasks[0].train:
        row = int(sample.uid.split("/")[2])
        assert len(sample.visual.grounding) == min(3, len(crops[row]))
    assert stream.provenance["image_files_blank"] == stream.provenance["image_files"]


def test_image_crops_are_read_by_name(tmp_path: Path) -> None:
    path = tmp_path / "d.pth"
    torch.save({"a": ["x/1.jpg"], "b": []}, path)
    assert read_image_crops(path) == {"a": ("x/1.jpg",), "b": ()}
