"""Own videos: `structalign init`, `task add` and `data check`, as a user types them."""

import csv
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from codemap import ROOT
from command import begin_project, structalign
from dvc.utils.serialize import load_yaml as load_dvc_file
from imageio_ffmpeg import get_ffmpeg_exe

from structalign.cli.data import listed
from structalign.cli.init import set_params
from structalign.data.captions import read_table
from structalign.data.inspection import inspect
from structalign.data.tasks import category_ids, read_tasks, split_categories, write_tasks
from structalign.errors import UserError
from structalign.params.data import DataParams
from structalign.params.section import leaves
from structalign.strict_yaml import load_yaml

REAL = "openai/clip-vit-base-patch32"
SKIP = DataParams(on_broken="skip", on_damaged="use", timeout=60)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a user's videos: two categories, eight different clips of half a second."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "videos").mkdir()
    rows = [("video", "caption", "category", "split")]
    for number, split in enumerate(("train", "val", "test", "train", "val", "test", "train", "train")):
        name = f"clip {number}.mkv"
        source = f"testsrc2=size=64x48:rate=8:duration=0.5,hue=h={40 * number}"
        command = [get_ffmpeg_exe(), "-v", "error", "-f", "lavfi", "-i", source, str(folder / "videos" / name)]
        subprocess.run(command, check=True)
        rows.append((name, f"caption {number}", "cats" if number in (0, 1, 2, 6) else "dogs, big", split))
    with (folder / "captions.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows(rows)
    (folder / "notes.txt").write_text("mine")
    return folder


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh project in git and DVC, before `dvc pull data`."""
    project = tmp_path / "project"
    begin_project(project)
    monkeypatch.chdir(project)
    return project


def test_init_makes_a_project_of_a_folder(own: Path, project: Path) -> None:
    before = Path("params.yaml").read_text(encoding="utf-8").splitlines()
    assert structalign("init", str(own), "--tasks", "2", "--backbone", REAL)[0] == 0
    after = Path("params.yaml").read_text(encoding="utf-8").splitlines()
    assert [task.categories for task in read_tasks().values()] == [["cats"], ["dogs, big"]]
    changed = [b for a, b in zip(before, after, strict=True) if a != b]
    assert f"  name: {REAL} # a CLIP folder or a name on the hub; paper {REAL} -> prepare" in changed
    assert len(changed) == 1 + len(dict(leaves(load_yaml(ROOT / "presets/clip.yaml"))))
    assert load_yaml(Path("data.dvc"))["outs"][0]["nfiles"] == 9
    assert not Path("data/notes.txt").exists()
    assert (own / "videos/clip 0.mkv").stat().st_nlink == 1
    assert structalign("data", "check")[0] == 0


def test_init_copies_nothing_from_outside_the_folder(own: Path, project: Path, tmp_path: Path) -> None:
    folder, private = shutil.copytree(own, tmp_path / "linked"), tmp_path / "private.mkv"
    (folder / "videos/clip 0.mkv").rename(private)
    (folder / "videos/clip 0.mkv").symlink_to(private)
    code, said = structalign("init", str(folder), "--tasks", "2", "--backbone", REAL)
    assert (code, "1 video of the captions table can't be read" in said) == (0, True)
    assert not Path("data/videos/clip 0.mkv").exists()
    (folder / "clip").mkdir()
    (folder / "clip/config.json").symlink_to(private)
    code, said = structalign("init", str(folder), "--tasks", "2", "--backbone", REAL)
    assert (code, "clip/config.json: it is a link to a place outside the collection" in said) == (1, True)


def test_init_without_a_backbone_says_which_to_name(own: Path, project: Path) -> None:
    code, said = structalign("init", str(own), "--tasks", "2")
    assert (code, "--backbone openai/clip-vit-base-patch32" in said) == (1, True)
    assert not Path("data").exists()
    assert list(read_tasks()) == ["t01", "t02"]


def test_init_takes_the_folder_s_own_clip(own: Path, project: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(own, tmp_path / "with clip")
    (folder / "clip").mkdir()
    (folder / "clip/config.json").write_text('{"model_type": "clip"}')
    assert structalign("init", str(folder), "--tasks", "2")[0] == 0
    assert Path("data/clip/config.json").exists()


def clip_of_size(folder: Path, side: int) -> Path:
    """A folder with the configuration of a CLIP that reads pictures of `side` pixels."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "clip", "vision_config": {"image_size": side}}))
    return folder


@pytest.mark.parametrize("of_its_own", [False, True], ids=["--backbone", "clip/"])
def test_frames_and_rates_fit_the_clip_that_init_takes(
    own: Path, project: Path, tmp_path: Path, of_its_own: bool
) -> None:
    folder = shutil.copytree(own, tmp_path / "own")
    clip = clip_of_size((folder if of_its_own else tmp_path) / "clip", 336)
    before = load_yaml(Path("params.yaml"))
    said = structalign("init", str(folder), "--tasks", "2", *([] if of_its_own else ["--backbone", str(clip)]))[1]
    params = load_yaml(Path("params.yaml"))
    assert params["frames"] == before["frames"] | {"size": 336}
    assert params["optim"]["later"]["lr"] == load_yaml(ROOT / "presets/clip.yaml")["optim"]["later"]["lr"]
    assert "frames.size: 48 -> 336" in said
    assert f"optim.later.lr: {before['optim']['later']['lr']} -> 3e-06" in said
    assert "frames.size" not in structalign("data", "check")[1]
    again = structalign("init", str(folder), "--tasks", "1", *([] if of_its_own else ["--backbone", str(clip)]))
    assert again[0] == 0


def test_a_clip_of_the_same_image_size_changes_no_number(own: Path, project: Path, tmp_path: Path) -> None:
    before = load_yaml(Path("params.yaml"))
    clip = clip_of_size(tmp_path / "clip", before["frames"]["size"])
    assert structalign("init", str(own), "--tasks", "2", "--backbone", str(clip))[0] == 0
    assert load_yaml(Path("params.yaml")) == before | {"backbone": before["backbone"] | {"name": str(clip)}}


def test_check_notes_frames_that_are_smaller_than_the_clip_reads(own: Path, project: Path, tmp_path: Path) -> None:
    clip = clip_of_size(tmp_path / "clip", 336)
    structalign("init", str(own), "--tasks", "2", "--backbone", str(clip))
    set_params({"frames": {"size": 112}})
    code, said = structalign("data", "check")
    assert code == 0
    assert "frames.size = 112 is smaller than the images of 336 pixels" in said
    assert "set `frames.size: 336`" in said


def test_check_uses_the_named_clip_and_otherwise_only_checks_the_data(own: Path, project: Path, tmp_path: Path) -> None:
    tiny = tmp_path / "tiny"
    tiny.mkdir()
    (tiny / "config.json").write_text('{"structalign_sample": ["a", "bunny"]}')
    assert structalign("data", "check", str(own))[0] == 0
    code, said = structalign("data", "check", str(own), "--backbone", str(tiny))
    assert (code, "is the sample's tiny CLIP" in said) == (1, True)
    assert structalign("data", "check", str(own), "--backbone", REAL)[0] == 0


@pytest.mark.parametrize("command", [("data", "check"), ("init", "--tasks", "2")], ids=["data check", "init"])
def test_a_backbone_that_cannot_be_found_is_called_as_the_user_named_it(
    own: Path, project: Path, command: tuple[str, ...]
) -> None:
    code, said = structalign(*command, str(own), "--backbone", "./nowhere")
    assert (code, "--backbone ./nowhere" in said, "backbone.name" in said) == (1, True, False)
    set_params({"backbone": {"name": "./nowhere"}})
    code, said = structalign(*command, str(own))
    assert (code, "backbone.name = ./nowhere" in said, "--backbone ./nowhere" in said) == (1, True, False)


def test_check_of_the_project_counts_its_videos_also_without_the_named_clip(own: Path, project: Path) -> None:
    structalign("init", str(own), "--tasks", "2", "--backbone", REAL)
    code, said = structalign("data", "check", "--backbone", "./nowhere")
    assert (code, "--backbone ./nowhere" in said, "\nall " in said) == (1, True, True)


def test_check_says_which_files_no_row_names(copy: Path) -> None:
    for name in ("more/extra.mp4", "b.mp4", ".hidden", ".cache/c.mp4"):
        (copy / "videos" / name).parent.mkdir(exist_ok=True)
        (copy / "videos" / name).touch()
    found = inspect(split_categories(["cats", "dogs, big"], 2), SKIP, REAL, copy)
    assert found.stops == []
    assert found.notes == ["2 files in videos/ without a row in captions.csv, which no run uses: b.mp4, more/extra.mp4"]


def test_check_prints_one_line_for_a_table_without_a_header(copy: Path) -> None:
    lines = (copy / "captions.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    (copy / "captions.csv").write_text("".join(lines[1:]), encoding="utf-8")
    found = inspect(split_categories(["cats", "dogs, big"], 2), SKIP, REAL, copy)
    assert len(found.stops) == 1
    assert "write video,caption,category,split above it" in found.stops[0]
    assert found.notes == []


def test_check_prints_one_line_for_files_in_another_folder(copy: Path) -> None:
    (copy / "videos/below").mkdir()
    for video in (copy / "videos").glob("*.mkv"):
        video.rename(copy / "videos/below" / video.name)
    found = inspect(split_categories(["cats", "dogs, big"], 2), SKIP, REAL, copy)
    (line,) = [note for note in found.notes if "the file is missing" in note]
    assert "and there is below/clip 0.mkv, below/clip 1.mkv" in line


@pytest.mark.parametrize("command", [("data", "check"), ("init", "--tasks", "2", "--backbone", REAL)])
def test_naming_the_table_in_place_of_its_folder_is_refused_in_one_sentence(
    own: Path, project: Path, command: tuple[str, ...]
) -> None:
    code, said = structalign(*command, str(own / "captions.csv"))
    assert (code, said.count("\n")) == (1, 1)
    assert f"name the folder with captions.csv and videos/, here {own}" in said


def test_init_refuses_a_folder_with_a_copy_of_the_sample_s_clip(own: Path, project: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(own, tmp_path / "with clip")
    (folder / "clip").mkdir()
    (folder / "clip/config.json").write_text('{"structalign_sample": ["a", "bunny"]}')
    code, said = structalign("init", str(folder), "--tasks", "2")
    assert (code, "is the sample's tiny CLIP" in said) == (1, True)
    assert not Path("data").exists()


def test_init_never_overwrites_data_that_dvc_does_not_track(own: Path, project: Path) -> None:
    Path("data").mkdir()
    Path("data/mine.mp4").touch()
    code, said = structalign("init", str(own), "--tasks", "2", "--backbone", REAL)
    assert (code, "run `dvc add data`" in said) == (1, True)
    assert Path("data/mine.mp4").exists()


def test_init_does_not_start_from_uncommitted_numbers(own: Path, project: Path) -> None:
    commit(project)
    text = Path("params.yaml").read_text(encoding="utf-8")
    Path("params.yaml").write_text(text.replace("rank: 8 ", "rank: 4 "), encoding="utf-8")
    code, said = structalign("init", str(own), "--tasks", "2", "--backbone", REAL)
    assert (code, "(adapters.rank 8 -> 4): commit them" in said) == (1, True)
    assert not Path("data").exists()


def test_init_reads_the_committed_numbers_as_those_in_the_file(own: Path, project: Path) -> None:
    """`dvc exp run -S optim.shared.weight_decay=1e-5` writes 1e-05, which YAML 1.1 reads as a text."""
    text = Path("params.yaml").read_text(encoding="utf-8")
    Path("params.yaml").write_text(re.sub(r"( weight_decay:) \S+", r"\1 1e-05", text), encoding="utf-8")
    commit(project)
    assert structalign("init", str(own), "--tasks", "2", "--backbone", REAL)[0] == 0
    assert load_yaml(Path("params.yaml"))["optim"]["shared"]["weight_decay"] == 1e-5


def test_init_says_that_the_committed_numbers_can_t_be_read(own: Path, project: Path) -> None:
    text = Path("params.yaml").read_text(encoding="utf-8")
    Path("params.yaml").write_text(text.replace("\nseed: 0", "\nseed: 010"), encoding="utf-8")
    commit(project)
    Path("params.yaml").write_text(text, encoding="utf-8")
    code, said = structalign("init", str(own), "--tasks", "2", "--backbone", REAL)
    assert (code, "HEAD:params.yaml, line 3: `seed` = 010" in said, "commit params.yaml" in said) == (1, True, True)
    commit(project)
    assert structalign("init", str(own), "--tasks", "2", "--backbone", REAL)[0] == 0


@pytest.mark.parametrize("name", ["no", "010", "1:30", "null", "2024-01-01", "org/clip: # small"])
def test_a_name_that_yaml_takes_for_something_else_is_written_as_text(project: Path, name: str) -> None:
    set_params({"backbone": {"name": name}})
    assert load_yaml(Path("params.yaml"))["backbone"]["name"] == name
    assert load_dvc_file("params.yaml")["backbone"]["name"] == name


def test_a_second_init_replaces_the_task_list_of_the_first(own: Path, project: Path) -> None:
    commit(project)
    for tasks in (2, 1):
        assert structalign("init", str(own), "--tasks", str(tasks), "--backbone", REAL)[0] == 0
    assert len(read_tasks()) == 1


@pytest.mark.parametrize("folder", ["own", "data"])
def test_init_never_overwrites_uncommitted_rows_of_tasks_yaml(own: Path, project: Path, folder: str) -> None:
    commit(project)
    structalign("init", str(own), "--tasks", "2", "--backbone", REAL)
    turned = {"own": str(own), "data": "data"}[folder], "--tasks", "2", "--backbone", REAL
    write_tasks(split_categories(["dogs, big", "cats"], 2))  # another order
    code, said = structalign("init", *turned)
    assert (code, "tasks.yaml has uncommitted rows" in said) == (1, True)
    assert list(category_ids(read_tasks())) == ["dogs, big", "cats"]
    commit(project)
    assert structalign("init", *turned)[0] == 0


def test_init_does_not_change_an_unreadable_task_list(own: Path, project: Path) -> None:
    commit(project)
    Path("tasks.yaml").write_text("mine", encoding="utf-8")
    code, said = structalign("init", str(own), "--tasks", "2", "--backbone", REAL)
    assert (code, "`git checkout HEAD -- tasks.yaml`" in said) == (1, True)
    assert Path("tasks.yaml").read_text(encoding="utf-8") == "mine"


def test_the_undo_command_of_init_keeps_later_edits(own: Path, project: Path) -> None:
    structalign("init", str(own), "--tasks", "2", "--backbone", REAL)
    commit(project)
    said = structalign("init", str(own), "--tasks", "1", "--backbone", REAL)[1]
    captions = Path("data/captions.csv")
    edited = captions.read_bytes() + b"\n"
    captions.unlink()  # a link into DVC's cache, read-only
    captions.write_bytes(edited)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    back = subprocess.run(said.splitlines()[-1], shell=True, check=False, env=os.environ | {"PATH": path})
    assert back.returncode == 0
    assert captions.read_bytes() == (own / "captions.csv").read_bytes()
    assert len(read_tasks()) == 2
    digest = hashlib.md5(edited).hexdigest()
    assert Path(".dvc/cache/files/md5", digest[:2], digest[2:]).exists()


def test_the_undo_command_works_in_a_clone_that_never_pulled_the_data(
    own: Path, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    structalign("init", str(own), "--tasks", "2", "--backbone", REAL)
    dvc = (sys.executable, "-m", "dvc")
    subprocess.run([*dvc, "remote", "add", "-q", "-d", "here", str(tmp_path / "remote")], check=True)
    commit(project)
    subprocess.run([*dvc, "push", "-q"], check=True)
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", str(project), str(clone)], check=True)
    monkeypatch.chdir(clone)
    mine = shutil.copytree(own, tmp_path / "mine")
    with (mine / "captions.csv").open("a", encoding="utf-8") as stream:
        stream.write("clip 0.mkv,another caption,cats,train\n")
    said = structalign("init", str(mine), "--tasks", "1", "--backbone", REAL)[1]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    back = subprocess.run(said.splitlines()[-1], shell=True, check=False, env=os.environ | {"PATH": path})
    assert back.returncode == 0
    assert Path("data/captions.csv").read_bytes() == (own / "captions.csv").read_bytes()
    assert len(read_tasks()) == 2


def test_the_undo_command_works_where_no_data_was_committed(own: Path, project: Path) -> None:
    commit(project)
    before = [Path(name).read_bytes() for name in ("params.yaml", "tasks.yaml")]
    said = structalign("init", str(own), "--tasks", "2", "--backbone", REAL)[1]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    back = subprocess.run(said.splitlines()[-1], shell=True, check=False, env=os.environ | {"PATH": path})
    assert back.returncode == 0
    assert [Path(name).read_bytes() for name in ("params.yaml", "tasks.yaml")] == before
    assert not Path("data").exists()
    assert structalign("init", str(own), "--tasks", "2", "--backbone", REAL)[0] == 0


def test_the_undo_command_keeps_videos_that_were_in_data_already(own: Path, project: Path) -> None:
    commit(project)
    shutil.copytree(own, "data")
    said = structalign("init", "data", "--tasks", "2", "--backbone", REAL)[1]
    back = subprocess.run(said.splitlines()[-1], shell=True, check=False)
    assert back.returncode == 0
    assert Path("data/captions.csv").read_bytes() == (own / "captions.csv").read_bytes()
    assert not Path("data.dvc").exists()


def commit(project: Path) -> None:
    """Commit all of a project."""
    name = ("-c", "user.name=tester", "-c", "user.email=tester@example.org")
    subprocess.run(["git", "add", "-A"], cwd=project, check=True)
    subprocess.run(["git", *name, "commit", "-qm", "state"], cwd=project, check=True)


def test_task_add_appends_a_row_and_changes_no_other(project: Path) -> None:
    before = Path("tasks.yaml").read_text()
    assert structalign("task", "add", "fish", "snails")[0] == 0
    assert Path("tasks.yaml").read_text().startswith(before)
    assert read_tasks()["t03"].categories == ["fish", "snails"]
    code, said = structalign("task", "add", "birds")
    assert (code, "category `birds` is named twice" in said) == (1, True)


def test_check_counts_what_a_run_would_use(own: Path) -> None:
    found = inspect(split_categories(["cats", "dogs, big"], 2), SKIP, REAL, own)
    assert (found.stops, found.notes) == ([], [])
    assert found.videos["t01", "train"] == found.captions["t01", "train"] == 2
    assert found.seconds["t02", "test"] == 0.5


@pytest.fixture
def copy(own: Path, tmp_path: Path) -> Path:
    return shutil.copytree(own, tmp_path / "copy")


def test_check_names_the_row_of_what_is_missing_and_broken(copy: Path) -> None:
    (copy / "videos/clip 1.mkv").unlink()
    (copy / "videos/clip 4.mkv").write_bytes(b"")
    found = inspect(split_categories(["cats", "dogs, big"], 2), SKIP, REAL, copy)
    reasons = ["row 3: clip 1.mkv: the file is missing", "row 6: clip 4.mkv: the file is empty"]
    assert found.notes == [f"{reason}, left out" for reason in reasons]
    assert found.stops == []
    stop = DataParams(on_broken="stop", on_damaged="use", timeout=60)
    strict = inspect(split_categories(["cats", "dogs, big"], 2), stop, REAL, copy)
    assert strict.stops == reasons


def test_check_stops_when_a_task_loses_its_only_tests(copy: Path) -> None:
    (copy / "videos/clip 2.mkv").write_bytes(b"")
    found = inspect(split_categories(["cats", "dogs, big"], 2), SKIP, REAL, copy)
    assert len(found.stops) == 1
    assert "task t01 has no test video" in found.stops[0]


def test_check_finds_content_shared_by_training_and_test(copy: Path) -> None:
    shutil.copy(copy / "videos/clip 0.mkv", copy / "videos/clip 5.mkv")
    found = inspect(split_categories(["cats", "dogs, big"], 2), SKIP, REAL, copy)
    names = "clip 0.mkv (row 2, train), clip 5.mkv (row 7, test)"
    assert found.stops == [f"the same content is in training and in evaluation: {names}: keep only one side"]


def test_empty_files_are_broken_and_have_no_content_in_common(copy: Path) -> None:
    for name in ("clip 6.mkv", "clip 1.mkv"):
        (copy / "videos" / name).write_bytes(b"")
    found = inspect(split_categories(["cats", "dogs, big"], 2), SKIP, REAL, copy)
    assert not [said for said in found.stops + found.notes if "same content" in said]
    assert [said for said in found.notes if "clip 6.mkv" in said and "the file is empty" in said]


def test_check_reports_equal_content_once_with_all_its_names(copy: Path) -> None:
    for other in (1, 3, 5):
        shutil.copy(copy / "videos/clip 0.mkv", copy / f"videos/clip {other}.mkv")
    found = inspect(split_categories(["cats", "dogs, big"], 2), SKIP, REAL, copy)
    assert len(found.stops) == 1
    assert [f"(row {number}, " in found.stops[0] for number in (2, 3, 4, 5, 6, 7)] == [
        True,
        True,
        False,
        True,
        False,
        True,
    ]


def test_check_looks_into_a_folder_before_init_takes_it(copy: Path, project: Path) -> None:
    assert re.search(r"all +8 +8 +4\.0", structalign("data", "check", str(copy))[1])
    (copy / "captions.csv").write_text("video;caption;category;split\n")
    code, said = structalign("data", "check", str(copy))
    assert (code, "the columns are separated by ';'" in said) == (1, True)


def test_check_names_the_table_if_no_row_is_wrong(own: Path) -> None:
    found = inspect(split_categories(["cats", "dogs, big", "owls"], 3), SKIP, REAL, own)
    assert found.stops == [
        f"{own}/captions.csv: 'owls' of task t03 has no training video: add rows, or remove it from tasks.yaml",
        f"{own}/captions.csv: task t03 has no test video: add rows of split test",
    ]


def test_init_counts_one_task_in_the_singular(own: Path, project: Path) -> None:
    assert "8 videos, 8 captions, 1 task. Next:" in structalign("init", str(own), "--tasks", "1", "--backbone", REAL)[1]


def test_check_notes_content_shared_by_validation_and_test(copy: Path) -> None:
    shutil.copy(copy / "videos/clip 1.mkv", copy / "videos/clip 5.mkv")
    found = inspect(split_categories(["cats", "dogs, big"], 2), SKIP, REAL, copy)
    assert found.notes == ["the same content has several names: clip 1.mkv (row 3, val), clip 5.mkv (row 7, test)"]


def test_check_lists_everything_wrong_in_the_table(copy: Path) -> None:
    with (copy / "captions.csv").open("a", encoding="utf-8") as stream:
        stream.write("clip 0.mkv,,cats,train\nclip 1.mkv,sits,owls,val\n")
    found = inspect(split_categories(["cats", "dogs, big"], 2), SKIP, REAL, copy)
    assert [text.split(":")[0] for text in found.stops] == [
        "row 10, column `caption`",
        "row 11, column `category`",
        "row 11, column `category`",
    ]


def test_check_groups_equal_problems(copy: Path) -> None:
    with (copy / "captions.csv").open("a", encoding="utf-8") as stream:
        stream.writelines(f"clip 0.mkv,caption x{number},cats,trian\n" for number in range(5000))
        stream.writelines(f"lost {number}.mkv,caption,cats,train\n" for number in range(300))
    found = inspect(split_categories(["cats", "dogs, big"], 2), SKIP, REAL, copy)
    assert [text for text in found.stops if "trian" in text] == [
        "rows 10, 11, 12, 13, 14 and 4,995 more, column `split`: 'trian' is not a split: write one of train, val, test"
    ]
    lost = [text for text in found.notes if "missing" in text]
    assert len(lost) == 1
    assert lost[0].startswith("row 5010: lost 0.mkv; row 5011: lost 1.mkv; ")
    assert lost[0].endswith(" and 295 more: the file is missing, left out")


def test_check_lists_a_few_of_many_problems_that_only_differ_in_a_name() -> None:
    sentences = [f"row {number}, column `split`: 'x{number}' is none of train, val, test" for number in range(1000)]
    lines = listed([*sentences, "task t01 has no test video"])
    assert (len(lines), lines[:2]) == (12, sentences[:2])
    assert lines[10:] == ["and 990 more like the last one", "task t01 has no test video"]


def test_check_notes_categories_that_only_differ_in_case(copy: Path) -> None:
    with (copy / "captions.csv").open("a", encoding="utf-8") as stream:
        stream.write("clip 7.mkv,caption,Cats,train\n")
    found = inspect(split_categories(["cats", "dogs, big"], 2), SKIP, REAL, copy)
    assert (
        "the categories 'cats' and 'Cats' differ only in case, composed or invisible letters: use one spelling"
        in found.notes
    )
    assert any("'Cats' is in no task of tasks.yaml, which has 'cats'" in text for text in found.stops)


@pytest.mark.parametrize("kind", ["folder", "pipe", "long"])
def test_a_table_that_is_not_a_file_is_refused(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / ("x" * 300 if kind == "long" else "own")
    if kind != "long":
        folder.mkdir()
        (os.mkfifo if kind == "pipe" else os.mkdir)(folder / "captions.csv")
    with pytest.raises(UserError, match=r"captions\.csv (is not a regular file|can't be read \(File name too long\))"):
        read_table(folder)


def test_a_video_with_too_long_a_name_is_left_out(copy: Path) -> None:
    with (copy / "captions.csv").open("a", encoding="utf-8") as stream:
        stream.write(f"{'x' * 300}.mkv,caption,cats,train\n{'y/' * 2500}z.mkv,caption,cats,train\n")
    found = inspect(split_categories(["cats", "dogs, big"], 2), SKIP, REAL, copy)
    assert found.stops == []
    assert sum("File name too long" in text for text in found.notes) == 1
