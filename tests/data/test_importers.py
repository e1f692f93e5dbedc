"""Importing MSR-VTT and ActivityNet: from synthetic files, and from the real split files if they are present."""

import csv
import json
import os
import pickle
import resource
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from structalign.cli.import_ import summary
from structalign.data.captions import against_tasks, read_captions, write_captions
from structalign.data.importers.activitynet import activitynet
from structalign.data.importers.ctvr import Benchmark, find_videos
from structalign.data.importers.msrvtt import msrvtt
from structalign.data.importers.split_files import read_split
from structalign.data.tasks import split_categories
from structalign.errors import UserError

REAL = Path(__file__).resolve().parents[3] / "shared/ctvr"

Files = dict[str, Path]


def ids(task: int, category: int, split: str) -> list[str]:
    """Two training and three test videos of each category, with ids in the benchmarks' format."""
    return [f"video{1000 * (split == 'val') + 100 * task + 10 * category + n}" for n in range(2 + (split == "val"))]


def split_tree(name: Callable[[int], Any], prefix: str = "") -> dict[str, Any]:
    """Two tasks of two categories in the format of a CTVR split file."""
    tree: dict[str, Any] = {}
    for split in ("train", "val"):
        tree[split] = {}
        for task in (1, 2):
            cells: dict[Any, list[str]] = defaultdict(list) if prefix else {}
            for category in (2 * task - 2, 2 * task - 1):
                cells[name(category)] = [prefix + video for video in ids(task, category, split)]
            tree[split][task] = cells
    return tree


def save(folder: Path, tree: Any) -> Path:
    path = folder / "splits.pkl"
    path.write_bytes(pickle.dumps(tree, protocol=4))
    return path


def all_ids(tree: dict[str, Any], split: str) -> list[str]:
    return [video for task in tree[split].values() for cell in task.values() for video in cell]


@pytest.fixture
def msr(tmp_path: Path) -> Files:
    """MSR-VTT's four kinds of files. One video has a caption twice, and one caption has extra blanks."""
    tree = split_tree(int)
    sentences = [
        {"video_id": video, "caption": caption, "sen_id": 0}
        for video in all_ids(tree, "train")
        for caption in (f"{video} runs", f"{video} runs", f"  {video}   jumps ")
    ]
    annotations = tmp_path / "train_val_videodatainfo.json"
    annotations.write_text(json.dumps({"videos": [], "sentences": sentences}))
    captions = tmp_path / "test.csv"
    with captions.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("key", "vid_key", "video_id", "sentence"))
        writer.writerows((f"ret{n}", "", video, f"{video} sits, too") for n, video in enumerate(all_ids(tree, "val")))
    videos = tmp_path / "all/TrainValVideo"
    videos.mkdir(parents=True)
    for video in [*all_ids(tree, "train"), *all_ids(tree, "val")]:
        (videos / f"{video}.mp4").write_text(video)
    files = {"annotations": annotations, "test_captions": captions, "videos": tmp_path / "all"}
    return {"splits": save(tmp_path, tree), **files}


@pytest.fixture
def act(tmp_path: Path) -> Files:
    """ActivityNet's files. Every video has two segments, and only the first counts."""
    tree = split_tree(lambda category: f"Having {category}", "v_")
    files = {"splits": save(tmp_path, tree), "videos": tmp_path / "act"}
    (tmp_path / "act").mkdir()
    for split, name in (("train", "train_captions"), ("val", "test_captions")):
        texts = {
            video: {"duration": 9.5, "timestamps": [[1, 2.5], [3, 9]], "sentences": [f" {video} sits. ", "It goes."]}
            for video in all_ids(tree, split)
        }
        files[name] = tmp_path / f"{name}.json"
        files[name].write_text(json.dumps(texts))
        for video in texts:
            (tmp_path / "act" / f"{video.removeprefix('v_')}.webm").write_text(video)
    return files


def test_msrvtt_has_every_caption_for_training_and_one_for_test(msr: Files) -> None:
    found = msrvtt(**msr)
    assert [row.caption for row in found.rows if row.video == "video100.mp4"] == ["video100 runs", "video100 jumps"]
    assert [row.caption for row in found.rows if row.video == "video1100.mp4"] == ["video1100 sits, too"]
    assert [task.categories for task in found.tasks.values()] == [
        ["music", "people"],
        ["gaming", "sports and actions"],
    ]
    assert (len(found.names("train")), len(found.names("test")), found.missing()) == (8, 12, {})


def test_activitynet_has_the_first_segment_and_its_sentence(act: Files) -> None:
    found = activitynet(**act)
    assert [row.id for row in found.rows[:2]] == ["v_video100.webm#1-2.5", "v_video101.webm#1-2.5"]
    assert found.rows[0].caption == "v_video100 sits."
    assert found.files["v_video100.webm"].name == "video100.webm"
    assert [task.categories for task in found.tasks.values()] == [["Having 0", "Having 1"], ["Having 2", "Having 3"]]


@pytest.mark.parametrize(
    ("segment", "start", "end", "missing"),
    [
        ([0, 0], None, None, True),
        ([-0.5, 2.0], 0.0, 2.0, False),
        ([2.0, -0.5], 0.0, 2.0, False),
        ([-3, -1], None, None, True),
        ([-3, 0], None, None, True),
        ([4, 4], None, None, True),
        ([float("nan"), 2], None, None, True),
        ([0, float("inf")], None, None, True),
    ],
)
@pytest.mark.parametrize("split", ["train", "test"])
def test_an_odd_first_segment_is_reported_and_stops_no_run(
    act: Files, tmp_path: Path, segment: list[float], start: float | None, end: float | None, missing: bool, split: str
) -> None:
    texts = json.loads(act[f"{split}_captions"].read_text())
    video = next(iter(texts))
    texts[video]["timestamps"][0] = segment
    act[f"{split}_captions"].write_text(json.dumps(texts))
    found = activitynet(**act)
    write_captions(tmp_path, found.rows)
    row = next(row for row in read_captions(tmp_path, found.tasks) if row.video == f"{video}.webm")
    assert (row.start, row.end) == (start, end)
    assert (f"{video}.webm" not in found.files) == missing
    assert f"{video}.webm: its first segment is [{segment[0]}, {segment[1]}]: " in summary(found)
    assert sum(found.missing().values()) == missing


def test_a_comma_without_quotes_does_not_cut_a_caption(msr: Files) -> None:
    lines = msr["test_captions"].read_text().replace('"', "").splitlines()
    lines[1] += ", a dog,and more"
    msr["test_captions"].write_text("\n".join(lines))
    captions = [row.caption for row in msrvtt(**msr).rows if row.split == "test"]
    assert captions[0] == "video1100 sits, too, a dog,and more"
    assert all(caption.endswith(" sits, too") for caption in captions[1:])


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("video_id,sentence,key\nvideo1100,a man, a dog,ret0\n", "row 2 has 4 cells, but the header has 3"),
        ("key,video_id,sentence\nret0,video1100\n", "row 2 has 2 cells, but the header has 3"),
        ('key,video_id,sentence\nret0,video1100,"a man\nret1,video1101,a dog"\n', "row 2 spans several lines"),
        ("key,video,text\n", "lacks the columns video_id and sentence"),
        ("", "lacks the columns video_id and sentence"),
    ],
)
def test_an_ambiguous_row_is_refused(msr: Files, table: str, said: str) -> None:
    msr["test_captions"].write_text(table)
    with pytest.raises(UserError, match=said):
        msrvtt(**msr)


def test_the_table_is_one_that_a_run_reads(act: Files, tmp_path: Path) -> None:
    found = activitynet(**act)
    write_captions(tmp_path, found.rows)
    assert read_captions(tmp_path, found.tasks) == found.rows


def test_a_missing_video_keeps_its_rows_and_is_counted_by_task(msr: Files) -> None:
    complete = msrvtt(**msr).rows
    for video in ("video100", "video1100", "video1220"):
        (msr["videos"] / f"TrainValVideo/{video}.mp4").unlink()
    found = msrvtt(**msr)
    assert found.rows == complete
    assert found.missing() == {"t01": 2, "t02": 1}
    assert summary(found).splitlines() == [
        "8 training videos, 12 test videos, 28 captions, 4 categories, 2 tasks",
        "missing videos: 3 (t01 2, t02 1). The results will be marked partial.",
    ]


@pytest.mark.parametrize(
    ("code", "asked"),
    [(b"cos\nsystem\n(S'true'\ntR.", "os.system"), (b"c__builtin__\neval\n(S'1'\ntR.", "__builtin__.eval")],
)
def test_a_pickle_that_asks_for_more_than_these_files_need_is_refused(tmp_path: Path, code: bytes, asked: str) -> None:
    path = tmp_path / "evil.pkl"
    path.write_bytes(code)
    with pytest.raises(UserError, match=rf"evil\.pkl is not a CTVR split file \(it asks for {asked}"):
        read_split(path)


@pytest.mark.parametrize("protocol", range(2, 6))
def test_a_defaultdict_of_lists_is_admitted_in_every_protocol(tmp_path: Path, protocol: int) -> None:
    tree = split_tree(lambda category: f"Having {category}", "v_")
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(tree, protocol=protocol))
    assert len(read_split(tmp_path / "x.pkl")) == 8


def test_a_nested_attribute_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "evil.pkl"
    path.write_bytes(b"\x80\x04\x8c\x0bcollections\x8c\x17defaultdict.__init_sub_\x93.")
    with pytest.raises(UserError, match="is not a CTVR split file"):
        read_split(path)


@pytest.mark.parametrize(
    ("tree", "says"),
    [
        ([], "not have exactly the keys train and val"),
        ({"train": {}, "val": {}}, "not numbered"),
        ({"train": {1: {0: ["a"]}, 3: {1: ["b"]}}, "val": {1: {0: ["c"]}, 3: {1: ["d"]}}}, "not numbered"),
        ({"train": {1: {0: ["a"]}}, "val": {1: {1: ["c"]}}}, "task 1 has other categories in val"),
        ({"train": {1: {0: ["a"]}}, "val": {1: {0: []}}}, "category 0 of task 1, val, is not a list of video ids"),
        (
            {"train": {1: {0: ["a", 7]}}, "val": {1: {0: ["c"]}}},
            "category 0 of task 1, train, is not a list of video ids",
        ),
        (
            {"train": {1: {0: ("a",)}}, "val": {1: {0: ["c"]}}},
            "category 0 of task 1, train, is not a list of video ids",
        ),
        ({"train": {1: {0: ["a"]}}, "val": {1: {0: "c"}}}, "category 0 of task 1, val, is not a list of video ids"),
        ({"train": {1: {}}, "val": {1: {}}}, "task 1 has other categories in train"),
        ({"train": {1: ["a"]}, "val": {1: ["b"]}}, "task 1 has other categories in train"),
        ({"train": {1: {0: ["a"]}}, "val": {1: ["b"]}}, "task 1 has other categories in val"),
        ({"train": {1: {0: ["a"]}}, "val": [["b"]]}, "the tasks of val are not numbered"),
        ({"train": {0: {0: ["a"]}}, "val": {0: {0: ["b"]}}}, "the tasks of train are not numbered"),
        ({"train": {1: {0: ["a"]}}, "val": {1: {0: ["b"]}, 2: {0: ["c"]}}}, "the tasks of val are not numbered"),
        ({"train": {1: {0: ["a"]}}, "val": {1: {0: ["b"]}}, "test": {}}, "not have exactly the keys train and val"),
        ({"train": {1: {0: ["a"]}}, "val": {1: {0: ["a"]}}}, "a is in category 0 of task 1, train and category 0"),
    ],
)
def test_a_split_file_of_another_shape_is_refused(tmp_path: Path, tree: Any, says: str) -> None:
    with pytest.raises(UserError, match=says):
        read_split(save(tmp_path, tree))


def test_a_small_pickle_cannot_allocate_gigabytes(tmp_path: Path) -> None:
    path = tmp_path / "x.pkl"
    path.write_bytes(b"\x80\x02}r\xff\xff\xff\x7f.")  # an empty dictionary, remembered as number 2**31 - 1
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match="is not a CTVR split file"):
        read_split(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**20  # kilobytes


def test_a_file_that_is_not_a_pickle_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.pkl").write_text("hello")
    with pytest.raises(UserError, match=r"x\.pkl is not a CTVR split file"):
        read_split(tmp_path / "x.pkl")
    with pytest.raises(UserError, match=r"y\.pkl can't be read"):
        read_split(tmp_path / "y.pkl")


def test_captions_that_lack_a_video_of_the_split_are_refused(msr: Files) -> None:
    msr["annotations"].write_text(json.dumps({"sentences": []}))
    with pytest.raises(UserError, match=r"videodatainfo\.json has no caption of video100, which"):
        msrvtt(**msr)


@pytest.mark.parametrize("text", ["[1]", "{}", '{"sentences": [{"caption": "x"}]}', '{"sentences": [{"video_id": 1}]}'])
def test_annotations_of_another_shape_are_refused(msr: Files, text: str) -> None:
    msr["annotations"].write_text(text)
    with pytest.raises(UserError, match="has no `sentences` with video_id and caption"):
        msrvtt(**msr)


def test_segments_of_another_shape_are_refused(act: Files) -> None:
    act["train_captions"].write_text(json.dumps({"v_x": {"timestamps": [], "sentences": []}}))
    with pytest.raises(UserError, match="v_x has no valid timestamps and sentences"):
        activitynet(**act)


@pytest.mark.parametrize(
    "about",
    [
        5,
        {"timestamps": [[0, 10**400]], "sentences": ["a"]},
        {"timestamps": [["a", 1]], "sentences": ["a"]},
        {"timestamps": [[0, 1, 2]], "sentences": ["a"]},
        {"timestamps": [[0, 1]], "sentences": [5]},
        {"timestamps": [[0, 1]], "sentences": None},
    ],
)
def test_the_video_with_an_odd_segment_is_named(act: Files, about: Any) -> None:
    act["train_captions"].write_text(json.dumps({"v_x": about}))
    with pytest.raises(UserError, match=r"train_captions\.json: v_x has no valid timestamps and sentences: name"):
        activitynet(**act)


@pytest.mark.parametrize("text", ["[]", "7", "null", "[" * 100_000, "9" * 5000])
def test_captions_that_are_no_mapping_are_refused(act: Files, text: str) -> None:
    act["train_captions"].write_text(text)
    with pytest.raises(UserError, match=r"train_captions\.json .*: name "):
        activitynet(**act)


@pytest.mark.parametrize("name", ["annotations", "test_captions", "splits"])
def test_a_pipe_in_place_of_a_file_is_refused(msr: Files, name: str) -> None:
    msr[name].unlink()
    os.mkfifo(msr[name])
    with pytest.raises(UserError, match=r"can't be read \(it is a pipe or a device\)"):
        msrvtt(**msr)


@pytest.mark.parametrize("video", ["../x", "a/b", "a\\b", "a#b", "", " ", "x" * 300, "a\x1b[2J", "a\nb", "a\ud800"])
def test_a_video_id_that_is_no_file_name_is_refused(act: Files, video: str) -> None:
    tree = pickle.loads(act["splits"].read_bytes())
    next(iter(tree["train"][1].values()))[0] = video
    act["splits"].write_bytes(pickle.dumps(tree))
    with pytest.raises(UserError, match="is not a video id: use the original file") as refusal:
        activitynet(**act)
    assert len(str(refusal.value)) < 500


@pytest.mark.parametrize("name", ["", " a", "${x}", "a\x1b[2J", "a\nb"])
def test_a_category_that_is_no_name_is_refused(act: Files, name: str) -> None:
    tree = pickle.loads(act["splits"].read_bytes())
    for part in tree.values():
        part[2] = {name: next(iter(part[2].values()))}
    act["splits"].write_bytes(pickle.dumps(tree))
    with pytest.raises(UserError, match=r"task 2 has the category .*, which is not a name"):
        activitynet(**act)


def test_a_category_of_two_tasks_is_refused(act: Files) -> None:
    tree = pickle.loads(act["splits"].read_bytes())
    for part in tree.values():
        part[2] = {**part[2], next(iter(part[1])): [f"another{len(part[1])}{part is tree['train']}"]}
    act["splits"].write_bytes(pickle.dumps(tree))
    with pytest.raises(UserError, match="is in task 1 and in task 2"):
        activitynet(**act)


def test_a_video_that_a_category_has_twice_is_refused(act: Files) -> None:
    tree = pickle.loads(act["splits"].read_bytes())
    ids = next(iter(tree["train"][1].values()))
    ids.append(ids[0])
    act["splits"].write_bytes(pickle.dumps(tree))
    with pytest.raises(UserError, match=rf"{ids[0]} is 2 times in category"):
        activitynet(**act)


def test_half_a_character_in_a_caption_is_refused(act: Files) -> None:
    act["train_captions"].write_text(act["train_captions"].read_text().replace("sits", "\\ud800"))
    with pytest.raises(UserError, match=r"train_captions\.json: a caption of v_\S+ has half a character"):
        activitynet(**act)


def test_a_test_table_without_its_columns_is_refused(msr: Files) -> None:
    msr["test_captions"].write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="lacks the columns video_id and sentence"):
        msrvtt(**msr)


def test_two_files_of_one_video_are_refused(tmp_path: Path) -> None:
    for name in ("a.mp4", "b/a.mkv", "a.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=r"a\.mp4 and .*a\.mkv are both video a"):
        find_videos(tmp_path, ["a"])


def test_a_folder_without_one_of_the_videos_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.mp4").touch()
    with pytest.raises(UserError, match=r"has none of the 2 videos: name the folder with files like a\.mp4"):
        find_videos(tmp_path, ["a", "b"])


# The real split files


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Benchmark]:
    """A published setting by name, with empty files for the videos and synthetic training captions."""
    if not REAL.is_dir():
        pytest.skip("the benchmark's split files are not in ../shared/ctvr; they have no licence to be copied here")

    def read(setting: str) -> Benchmark:
        folder = tmp_path_factory.mktemp(setting)
        splits = REAL / f"{setting}_dataset.pkl"
        videos = folder / "videos"
        videos.mkdir()
        named = [(cell.split, video) for cell in read_split(splits) for video in cell.ids]
        for _, video in named:
            (videos / f"{video}.mp4").touch()
        if setting.startswith("ACTNET"):
            return activitynet(splits, videos, REAL / "train_queries.json", REAL / "val_queries.json")
        sentences = [
            {"video_id": video, "caption": f"caption {n}"}
            for split, video in named
            if split == "train"
            for n in range(20)
        ]
        (folder / "annotations.json").write_text(json.dumps({"sentences": sentences}))
        return msrvtt(splits, videos, folder / "annotations.json", REAL / "MSRVTT_CL_validation.csv")

    return read


@pytest.mark.parametrize(
    ("setting", "tasks", "categories", "trained", "tested", "captions"),
    [
        ("MSRVTT_10", 10, 20, 320, 2990, 9390),
        ("MSRVTT_20", 20, 20, 320, 2990, 9390),
        ("ACTNET_10", 10, 200, 3200, 4910, 8110),
        ("ACTNET_20", 20, 200, 3200, 4910, 8110),
    ],
)
def test_a_published_setting_has_its_published_counts(
    real: Callable[[str], Benchmark],
    tmp_path: Path,
    setting: str,
    tasks: int,
    categories: int,
    trained: int,
    tested: int,
    captions: int,
) -> None:
    found = real(setting)
    names = [name for task in found.tasks.values() for name in task.categories]
    train, test = set(found.names("train")), set(found.names("test"))
    assert (len(found.tasks), len(names), len(train), len(test)) == (tasks, categories, trained, tested)
    assert (len(found.rows), train & test) == (captions, set())
    by_category = Counter(category for _, category in {(r.video, r.category) for r in found.rows if r.split == "train"})
    assert set(by_category.values()) == {16}
    assert found.tasks == split_categories(names, tasks)  # so that a preset's `tasks: 20` gives the 20-task setting
    write_captions(tmp_path, found.rows)
    assert read_captions(tmp_path, found.tasks) == found.rows
    assert against_tasks(found.rows, found.tasks) == []
