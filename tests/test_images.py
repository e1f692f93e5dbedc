"""A still image is a video of one frame. Image files go through every stage, without special code."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from codemap import ROOT
from PIL import Image
from toy import SMALL, Project, write_captions, write_clip

from stages import check, embed, evaluate, features, frames, prepare, report, train
from structalign.data.frame_store import FrameSplit
from structalign.data.tasks import split_categories, write_tasks
from structalign.params.section import leaves

pytestmark = pytest.mark.slow

CATEGORIES = ["red", "green", "blue", "grey"]
SPLITS = ("train", "train", "test", "test")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tasks of images after all stages: PNG for training, JPEG for test, no validation split."""
    root = tmp_path_factory.mktemp("images")
    shutil.copy(ROOT / "params.yaml", root)
    for key, value in leaves(SMALL):
        Project(root).set(key, value)
    write_tasks(split_categories(CATEGORIES, 2), root / "tasks.yaml")
    (root / "data/videos").mkdir(parents=True)
    rows = []
    for number, category in enumerate(CATEGORIES):
        for copy, split in enumerate(SPLITS):
            name = f"{category}{copy}.{'png' if split == 'train' else 'jpg'}"
            noise = np.random.default_rng(10 * number + copy).integers(0, 256, (40, 56, 3), np.uint8)
            Image.fromarray(noise).save(root / "data/videos" / name)
            rows.append([name, f"picture {copy} of {category}", category, split])
    write_captions(root, rows)
    write_clip(root / "data/clip")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("STRUCTALIGN_THREADS", "1")
        check.main()
        prepare.main()
        for task, prev in (("t01", "t00"), ("t02", "t01")):
            for stage in (frames, features, train):
                stage.main(task)
            embed.main(task, prev)
            evaluate.main(task)
        report.main()
    return root


def test_every_frame_of_an_image_is_the_image(run: Path) -> None:
    split = FrameSplit(run / "work/frames/t01/test")
    pictures = split.frames(0)
    assert pictures.shape == (2, 32, 44, 3)
    assert (pictures[0] == pictures[1]).all()
    assert len(set(split.rows[0]["times"])) == 1
    assert json.loads((run / "work/quarantine/t01.json").read_text()) == {"videos": []}


def test_images_are_trained_on_stored_and_ranked(run: Path) -> None:
    assert len((run / "work/logs/t02.jsonl").read_text().splitlines()) > 0
    evaluation = json.loads((run / "reports/eval/t02.json").read_text())["splits"]["test"]
    assert (evaluation["queries"], evaluation["videos"]) == (8, 8)
    assert evaluation["method"]["t2v"]["R@10"] == 100.0


def test_without_a_validation_split_only_its_numbers_are_null(run: Path) -> None:
    metrics = json.loads((run / "reports/metrics.json").read_text())
    assert {key for key, value in metrics.items() if value is None} == {"val_R@1", "val_BWF_seen"}
    assert "partial" not in metrics


def test_the_page_shows_images(run: Path) -> None:
    assert "data:image/jpeg;base64," in (run / "reports/index.html").read_text()
