"""The stages prepare and frames, run as a user runs them."""

import csv
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from imageio_ffmpeg import get_ffmpeg_exe
from PIL import Image

from stages import frames, prepare
from structalign.data.frame_store import FrameSplit, write_split
from structalign.data.inspection import inspect
from structalign.data.tasks import read_tasks, split_categories, write_tasks
from structalign.data.thumbnails import Thumbs
from structalign.data.video import DecodedClip, decode
from structalign.errors import UserError
from structalign.params.data import DataParams
from structalign.params.reading import read as params
from structalign.store import digest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve clips of one second, all different: 0.mp4 to 11.mp4."""
    folder = tmp_path_factory.mktemp("clips")
    for number in range(12):
        source = f"testsrc2=size=64x48:rate=8:duration=1,hue=h={30 * number}"
        command = [get_ffmpeg_exe(), "-v", "error", "-f", "lavfi", "-i", source, f"{folder / str(number)}.mp4"]
        subprocess.run(command, check=True)
    return folder


def write_table(folder: Path, rows: list[tuple[str, str, str, str]]) -> None:
    with (folder / "captions.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("video", "caption", "category", "split"), *rows])


@pytest.fixture
def project(tmp_path: Path, clips: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with params.yaml, two tasks (cats; dogs), three splits of two clips each, an empty CLIP."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copytree(clips, tmp_path / "data/videos")
    splits = ("train", "train", "val", "val", "test", "test")
    rows = [
        (f"{number}.mp4", f"caption {number}", "cats" if number < 6 else "dogs", splits[number % 6])
        for number in range(12)
    ]
    write_table(tmp_path / "data", rows)
    write_tasks(split_categories(["cats", "dogs"], 2))
    clip = tmp_path / "data/clip"
    clip.mkdir()
    known = ["caption", "the", "first", "second", "half", *map(str, range(12))]
    (clip / "config.json").write_text(json.dumps({"model_type": "clip", "structalign_sample": known}))
    for name in ("model.safetensors", "tokenizer.json"):
        (clip / name).write_text(name)
    (clip / "preprocessor_config.json").write_text('{"image_mean": [0, 0, 0], "image_std": [1, 1, 1]}')
    (clip / "README.md").write_text("not needed")
    return tmp_path


def read(path: str) -> Any:
    return json.loads(Path(path).read_text(encoding="utf-8"))


def say(key: str, old: str, new: str) -> None:
    """Change one value of params.yaml."""
    text = Path("params.yaml").read_text(encoding="utf-8")
    assert f"{key}: {old}" in text
    Path("params.yaml").write_text(text.replace(f"{key}: {old}", f"{key}: {new}", 1), encoding="utf-8")


def test_every_task_gets_its_own_videos_with_their_hashes(project: Path) -> None:
    prepare.main()
    videos = read("work/manifest/t02/videos.json")["videos"]
    assert [video["id"] for video in videos] == [f"{number}.mp4" for number in range(6, 12)]
    assert {video["category"] for video in videos} == {1}
    assert videos[0]["sha256"] == digest(project / "data/videos/6.mp4")


def test_queries_add_up_over_tasks_and_never_come_from_training(project: Path) -> None:
    prepare.main()
    queries = read("work/manifest/t02/seen.json")["queries"]
    assert [query["video"] for query in queries] == [f"{n}.mp4" for n in (2, 3, 4, 5, 8, 9, 10, 11)]
    captions = read("work/manifest/t02/train_captions.json")["captions"]
    assert [caption["video"] for caption in captions] == ["6.mp4", "7.mp4"]


def test_only_the_needed_files_of_the_backbone_are_copied(project: Path) -> None:
    prepare.main()
    names = ["config.json", "gathered.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json"]
    assert sorted(path.name for path in Path("work/backbone").iterdir()) == names


def test_the_same_content_in_training_and_test_stops(project: Path) -> None:
    shutil.copy(project / "data/videos/0.mp4", project / "data/videos/4.mp4")
    with pytest.raises(UserError, match=r"4\.mp4 \(row 6, test\) has the same content as 0\.mp4 \(row 2, train\)"):
        prepare.main()
    assert not Path("work/manifest").exists()


def test_the_same_content_inside_a_split_is_reported(project: Path) -> None:
    shutil.copy(project / "data/videos/4.mp4", project / "data/videos/5.mp4")
    prepare.main()
    assert read("work/manifest/report.json")["duplicates"] == [["4.mp4", "5.mp4"]]


def test_a_missing_video_is_skipped_and_reported_with_its_rows(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "data/videos/5.mp4").unlink()
    prepare.main()
    assert "1 of 12 files are missing and left out" in capsys.readouterr().out
    report = read("work/manifest/report.json")
    assert report["skipped"] == [{"file": "5.mp4", "rows": [7], "reason": "the file is missing"}]
    assert report["named"]["t01"] == {"train": 2, "val": 2, "test": 2}
    assert report["there"]["t01"] == {"train": 2, "val": 2, "test": 1}
    assert report["there"]["t02"] == report["named"]["t02"]
    assert "5.mp4" not in Path("work/manifest/t02/seen.json").read_text()


def test_a_missing_video_stops_if_asked_to(project: Path) -> None:
    (project / "data/videos/5.mp4").unlink()
    say("on_broken", "skip", "stop")
    with pytest.raises(UserError, match=r"row 7: data/videos/5\.mp4 does not exist"):
        prepare.main()


def test_a_category_that_loses_all_its_training_videos_stops(project: Path) -> None:
    for name in ("6.mp4", "7.mp4"):
        (project / "data/videos" / name).unlink()
    with pytest.raises(UserError, match="'dogs' of task t02 has no training video"):
        prepare.main()


def test_the_sample_s_clip_is_refused_for_other_data_whatever_its_categories(project: Path) -> None:
    table = project / "data/captions.csv"
    table.write_text(table.read_text().replace("caption 7,dogs", "A sparrow 7,dogs"))
    with pytest.raises(UserError, match=r"captions.csv has `a` \(row 9\): choose a real CLIP"):
        prepare.main()


def test_the_sample_s_clip_is_accepted_for_part_of_the_sample(project: Path) -> None:
    table = project / "data/captions.csv"
    table.write_text("\n".join(table.read_text().splitlines()[:7]) + "\n")
    write_tasks(split_categories(["cats"], 1))
    prepare.main()
    assert Path("work/backbone").is_dir()


def test_frames_are_stored_in_the_manifest_s_order(project: Path) -> None:
    prepare.main()
    frames.main("t01")
    split = FrameSplit(Path("work/frames/t01/train"))
    assert [row["id"] for row in split.rows] == ["0.mp4", "1.mp4"]
    assert split.frames(1).shape == (8, 48, 64, 3)
    assert split.rows[0]["times"] == [number / 8 for number in range(8)]


def test_thumbnails_are_of_the_test_split_and_of_the_same_frames(project: Path) -> None:
    prepare.main()
    frames.main("t01")
    thumbs, split = Thumbs(Path("work/thumbs/t01")), FrameSplit(Path("work/frames/t01/test"))
    Path("thumb.jpg").write_bytes(thumbs.jpeg("5.mp4", 3))
    picture = Image.open("thumb.jpg")
    small = np.asarray(picture.convert("RGB").resize((64, 48)), dtype=float)
    assert picture.size == (128, 96)
    assert abs(small - split.frames(1)[3]).mean() < 12
    assert "0.mp4" not in thumbs
    with pytest.raises(UserError, match="no frame 8"):
        thumbs.jpeg("5.mp4", 8)


def test_frames_only_decodes_the_videos_that_an_interrupted_run_had_not_done(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare.main()
    frames.main("t01")
    before = written()
    shutil.rmtree("work/frames")
    shutil.rmtree("work/thumbs")
    decoded = list[str]()

    def stop_at_the_fifth(path: Path, *args: Any, **kwargs: Any) -> DecodedClip:
        if path.name == "4.mp4":
            raise KeyboardInterrupt
        return watch(path, *args, **kwargs)

    def watch(path: Path, *args: Any, **kwargs: Any) -> DecodedClip:
        clip = decode(path, *args, **kwargs)
        decoded.append(path.name)  # whole: what runs when another is stopped is stopped, too
        return clip

    monkeypatch.setattr(frames, "decode", stop_at_the_fifth)
    with pytest.raises(KeyboardInterrupt):
        frames.main("t01")
    first = set(decoded)
    decoded.clear()
    monkeypatch.setattr(frames, "decode", watch)
    frames.main("t01")
    assert first >= {"0.mp4", "1.mp4", "2.mp4", "3.mp4"}
    assert set(decoded) == {f"{number}.mp4" for number in range(6)} - first
    assert written() == before


def written() -> dict[Path, bytes]:
    """Frames and thumbnails."""
    files = [*Path("work/frames").rglob("*"), *Path("work/thumbs").rglob("*")]
    return {file: file.read_bytes() for file in files if file.is_file()}


def test_a_broken_video_is_quarantined_and_the_others_are_used(project: Path) -> None:
    (project / "data/videos/4.mp4").write_bytes(b"")
    prepare.main()
    frames.main("t01")
    expected = {"id": "4.mp4", "file": "4.mp4", "split": "test", "reason": "the file is empty"}
    assert read("work/quarantine/t01.json") == {"videos": [expected]}
    assert [row["id"] for row in FrameSplit(Path("work/frames/t01/test")).rows] == ["5.mp4"]


def test_a_broken_video_stops_if_asked_to(project: Path) -> None:
    (project / "data/videos/4.mp4").write_bytes(b"")
    say("on_broken", "skip", "stop")
    prepare.main()
    with pytest.raises(UserError, match=r"data/videos/4\.mp4: the file is empty: replace"):
        frames.main("t01")
    assert not Path("work/frames/t01/test").exists()


def break_videos(project: Path, *names: str) -> None:
    for name in names:
        (project / "data/videos" / name).write_bytes(name.encode())


def test_a_task_without_a_decodable_test_video_stops(project: Path) -> None:
    break_videos(project, "4.mp4", "5.mp4")
    prepare.main()
    with pytest.raises(UserError, match=r"t01: none of the test videos can be decoded \(4\.mp4: .*\): replace"):
        frames.main("t01")


def test_a_category_without_a_decodable_training_video_stops(project: Path) -> None:
    write_tasks(split_categories(["cats", "dogs"], 1))
    break_videos(project, "6.mp4", "7.mp4")
    prepare.main()
    with pytest.raises(UserError, match="t01: none of the training videos of `dogs` can be decoded"):
        frames.main("t01")


def test_validation_may_lose_all_its_videos(project: Path) -> None:
    break_videos(project, "2.mp4", "3.mp4")
    prepare.main()
    frames.main("t01")
    assert len(FrameSplit(Path("work/frames/t01/val"))) == 0


def test_a_video_that_changed_since_prepare_stops(project: Path) -> None:
    prepare.main()
    shutil.copy(project / "data/videos/0.mp4", project / "data/videos/4.mp4")
    with pytest.raises(UserError, match=r"data/videos/4\.mp4 has changed since stage `prepare` ran"):
        frames.main("t01")


def test_stretches_of_one_file_are_separate_clips(project: Path) -> None:
    table = project / "data/captions.csv"
    lines = table.read_text().splitlines()
    lines = [lines[0] + ",start,end"] + [line + ",," for line in lines[1:]]
    lines += ["0.mp4,the first half,cats,train,,0.5", "0.mp4,the second half,cats,train,0.5,"]
    table.write_text("\n".join(lines) + "\n")
    prepare.main()
    frames.main("t01")
    split = FrameSplit(Path("work/frames/t01/train"))
    rows = {row["id"]: (row["start"], row["duration"]) for row in split.rows}
    assert rows == {"0.mp4": (0, 1), "1.mp4": (0, 1), "0.mp4#-0.5": (0, 0.5), "0.mp4#0.5-": (0.5, 0.5)}


def test_more_videos_than_a_shard_holds_are_read_back(project: Path) -> None:
    items = [({"id": str(n)}, np.full((1, 2, n + 1, 3), n, np.uint8)) for n in range(70)]
    write_split(Path("many"), iter(items))
    split = FrameSplit(Path("many"))
    assert len(list(Path("many").glob("*.safetensors"))) == 3
    assert all(np.array_equal(split.frames(n), array) for n, (_, array) in enumerate(items))


def damage_videos(project: Path, *names: str) -> None:
    """Cut off four tenths of the pictures, but keep the index."""
    for name in names:
        path = project / "data/videos" / name
        source = "testsrc2=size=64x48:rate=8:duration=9"
        options = ["-c:v", "libvpx", "-f", "webm"]
        command = [get_ffmpeg_exe(), "-v", "error", "-y", "-f", "lavfi", "-i", f"{source},hue=h={len(name)}"]
        subprocess.run([*command, *options, str(path)], check=True)
        data = path.read_bytes() + name.encode()
        path.write_bytes(data[: len(data) * 6 // 10])


def test_a_damaged_video_is_used_with_a_note(project: Path) -> None:
    damage_videos(project, "4.mp4")
    prepare.main()
    frames.main("t01")
    written = read("work/quarantine/t01.json")
    assert written["videos"] == []
    assert [(row["id"], row["file"], row["split"]) for row in written["damaged"]] == [("4.mp4", "4.mp4", "test")]
    assert "its header declares 9.0 s" in written["damaged"][0]["reason"]
    assert [row["id"] for row in FrameSplit(Path("work/frames/t01/test")).rows] == ["4.mp4", "5.mp4"]


def test_a_damaged_video_is_quarantined_if_asked_to(project: Path) -> None:
    damage_videos(project, "4.mp4")
    say("on_damaged", "use", "skip")
    prepare.main()
    frames.main("t01")
    written = read("work/quarantine/t01.json")
    assert [row["id"] for row in written["videos"]] == ["4.mp4"]
    assert "damaged" not in written
    assert [row["id"] for row in FrameSplit(Path("work/frames/t01/test")).rows] == ["5.mp4"]


def test_a_damaged_video_stops_if_asked_to(project: Path) -> None:
    damage_videos(project, "4.mp4")
    say("on_damaged", "use", "stop")
    prepare.main()
    with pytest.raises(UserError, match=r"data/videos/4\.mp4: it is damaged .*`data\.on_damaged`"):
        frames.main("t01")


@pytest.mark.parametrize(("setting", "stops"), [("use", 0), ("skip", 0), ("stop", 1)])
def test_the_check_says_what_the_run_would_do_with_a_damaged_video(project: Path, setting: str, stops: int) -> None:
    damage_videos(project, "4.mp4")
    say("on_damaged", "use", setting)
    found = inspect(read_tasks(), params("data", DataParams), "openai/clip-vit-base-patch32")
    said = found.stops if stops else found.notes
    assert [line for line in said if "row 6: 4.mp4: it is damaged (" in line]
    assert len(found.stops) == stops
    assert found.videos["t01", "test"] == (2 if setting == "use" else 1)


def test_a_note_survives_an_interrupted_run(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damage_videos(project, "0.mp4")
    prepare.main()

    def stop_at_the_test_split(path: Path, *args: Any, **kwargs: Any) -> DecodedClip:
        if path.name == "4.mp4":
            raise KeyboardInterrupt
        return decode(path, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(frames, "decode", stop_at_the_test_split)
        with pytest.raises(KeyboardInterrupt):
            frames.main("t01")
    frames.main("t01")
    assert [row["id"] for row in read("work/quarantine/t01.json")["damaged"]] == ["0.mp4"]


def test_a_link_out_of_the_collection_is_left_out_with_the_reason(project: Path, tmp_path: Path) -> None:
    (project / "data/videos/5.mp4").rename(project / "private.mp4")
    (project / "data/videos/5.mp4").symlink_to(project / "private.mp4")
    prepare.main()
    skipped = read("work/manifest/report.json")["skipped"]
    assert skipped == [{"file": "5.mp4", "rows": [7], "reason": "it is a link to a place outside the collection"}]
    found = inspect(read_tasks(), params("data", DataParams), "openai/clip-vit-base-patch32")
    assert "row 7: 5.mp4: it is a link to a place outside the collection, left out" in found.notes


def test_a_link_made_after_the_check_is_not_followed(project: Path) -> None:
    prepare.main()
    (project / "data/videos/5.mp4").rename(project / "private.mp4")
    (project / "data/videos/5.mp4").symlink_to(project / "private.mp4")
    with pytest.raises(UserError, match=r"data/videos/5\.mp4 has changed"):
        frames.main("t01")


def test_a_playlist_in_the_collection_is_quarantined_with_its_kind(project: Path) -> None:
    """It would bring a test video into training, past the comparison of contents."""
    (project / "data/videos/0.mp4").write_text("ffconcat version 1.0\nfile 4.mp4\n")
    prepare.main()
    frames.main("t01")
    [row] = read("work/quarantine/t01.json")["videos"]
    assert row["id"] == "0.mp4"
    assert "concat" in row["reason"]


def test_an_ffmpeg_that_is_too_old_stops_before_the_first_video(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare.main()
    old = project / "ffmpeg"
    old.write_text("#!/bin/sh\necho 'ffmpeg version 4.2.2 Copyright'\n")
    old.chmod(0o755)
    monkeypatch.setenv("STRUCTALIGN_FFMPEG", str(old))
    with pytest.raises(UserError, match=r"ffmpeg 4\.2.* is too old"):
        frames.main("t01")
    with pytest.raises(UserError, match=r"ffmpeg 4\.2.* is too old"):
        inspect(read_tasks(), params("data", DataParams), "openai/clip-vit-base-patch32")
    assert not Path("work/frames/t01").exists()
