"""The captions table: valid tables are read, and each problem is reported in one sentence."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from structalign.data.captions import CaptionRow, against_tasks, categories, overlaps, read_captions, read_table
from structalign.data.manifest import SPLITS, Split
from structalign.data.tasks import split_categories
from structalign.errors import UserError

HEADER = "video,caption,category,split,start,end\n"


def table(folder: Path, text: str) -> Path:
    (folder / "captions.csv").write_text(text, encoding="utf-8")
    return folder


def complaint(folder: Path, text: str) -> str:
    with pytest.raises(UserError) as error:
        read_captions(table(folder, text))
    return str(error.value)


def test_a_row_is_a_caption_of_a_clip(tmp_path: Path) -> None:
    rows = read_captions(table(tmp_path, HEADER + 'a/b.mp4,"runs, jumps",cats,train,1.5,3\n'))
    assert [(row.id, row.caption, row.start, row.end) for row in rows] == [("a/b.mp4#1.5-3", "runs, jumps", 1.5, 3.0)]


def test_times_are_optional_columns(tmp_path: Path) -> None:
    rows = read_captions(table(tmp_path, "split,category,caption,video\ntest,cats,sits,a.mp4\n"))
    assert (rows[0].id, rows[0].start, rows[0].end) == ("a.mp4", None, None)


def test_two_stretches_of_one_file_are_two_clips_even_if_close(tmp_path: Path) -> None:
    text = HEADER + "a.mp4,sits,cats,train,1234567.1,1234568\na.mp4,runs,dogs,train,1234567.2,1234568\n"
    assert len({row.id for row in read_captions(table(tmp_path, text))}) == 2


def test_blank_lines_and_a_byte_order_mark_do_not_matter(tmp_path: Path) -> None:
    rows = read_captions(table(tmp_path, "\ufeff" + HEADER + "\na.mp4,sits,cats,train,,\n,,,,,\n"))
    assert [row.number for row in rows] == [3]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("a.mp4,,cats,train,,", "row 2, column `caption`: the cell is empty"),
        ("a.mp4,sits,,train,,", "row 2, column `category`: the cell is empty"),
        (",sits,cats,train,,", "row 2, column `video`: the cell is empty"),
        ("a.mp4,sits,cats,dev,,", "row 2, column `split`: 'dev' is not a split: write one of train, val, test"),
        ("a.mp4,sits,cats,train,two,", "row 2, column `start`: 'two' is not a time"),
        ("a.mp4,sits,cats,train,nan,", "row 2, column `start`: 'nan' is not a time"),
        ("a.mp4,sits,cats,train,-1,", "row 2, column `start`: '-1' is not a time"),
        ("a.mp4,sits,cats,train,,inf", "row 2, column `end`: 'inf' is not a time"),
        ("a.mp4,sits,cats,train,3,3", "row 2, column `end`: the end 3 is not after the start"),
        ("../a.mp4,sits,cats,train,,", "row 2, column `video`: '../a.mp4' leads out of videos/"),
        ("/a.mp4,sits,cats,train,,", "row 2, column `video`: '/a.mp4' leads out of videos/"),
        ("a#1.mp4,sits,cats,train,,", "row 2, column `video`: 'a#1.mp4' has `#`"),
        ("a.mp4,sits,${x},train,,", "row 2, column `category`: the name has `${`"),
        ("a.mp4,sits,and jumps,cats,train,,", "row 2, column `end`: the row has 7 cells, not 6"),
        ("a.mp4,sits,cats,train", "row 2, column `start`: the row has 4 cells, not 6"),
    ],
)
def test_a_wrong_row_is_named_with_its_column(tmp_path: Path, line: str, says: str) -> None:
    assert says in complaint(tmp_path, HEADER + line + "\n")


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ("video,caption,split", "column `category`: the column is missing"),
        ("video,caption,category,split,strat", "column `strat`: the column is unknown"),
        ("video,caption,category,split,split", "column `split`: the column is there twice"),
        ("", "row 1: the first row names no column: write video,caption,category,split"),
        ("a.mp4,a video of cats,cats,train", "row 1: the first row names no column"),
        ("cats,a.mp4,sits,1.5,3,test", "row 1: the first row names no column"),
        (
            "file,caption,category,split",
            "column `video`: the column is missing: the first row must name video, caption, category, split",
        ),
        ("video,captions,category,split", "column `caption`: the column is missing: rename `captions`"),
        ("video;caption;category;split", "the columns are separated by ';': save the table with commas"),
    ],
)
def test_a_wrong_header_is_named(tmp_path: Path, header: str, says: str) -> None:
    assert says in complaint(tmp_path, header + "\n")


@pytest.mark.parametrize(
    ("second", "says"),
    [
        ("a.mp4,runs,dogs,train,,", "row 3, column `category`: a.mp4 has category 'dogs', but 'cats' in row 2"),
        ("a.mp4,runs,cats,test,,", "row 3, column `split`: a.mp4 has split test, but train in row 2"),
        ("a.mp4,runs,cats,test,1,2", "row 3, column `split`: a.mp4 has split test, but train in row 2"),
        ("./a.mp4,runs,cats,test,,", "row 3, column `split`: a.mp4 has split test, but train in row 2"),
        ("a.mp4,sits,cats,train,,", "row 3, column `caption`: the row repeats row 2"),
    ],
)
def test_two_rows_that_disagree_are_named(tmp_path: Path, second: str, says: str) -> None:
    assert says in complaint(tmp_path, f"{HEADER}a.mp4,sits,cats,train,,\n{second}\n")


def test_a_file_in_two_splits_is_reported_once_with_its_rows(tmp_path: Path) -> None:
    text = HEADER + "a.mp4,sits,cats,train,,\na.mp4,runs,cats,test,,\na.mp4,naps,cats,test,,\n"
    said = [str(problem) for problem in read_table(table(tmp_path, text))[1]]
    assert len(said) == 1
    assert said[0].startswith("rows 3, 4, column `split`: a.mp4 has split test, but train in row 2")


@pytest.mark.parametrize("times", [("0,5", "5,"), ("2,3", "0,2"), (",1.5", "1.5,9")])
def test_stretches_of_a_file_that_do_not_overlap_may_be_in_different_splits(
    tmp_path: Path, times: tuple[str, str]
) -> None:
    text = HEADER + f"a.mp4,sits,cats,train,{times[0]}\na.mp4,runs,cats,test,{times[1]}\n"
    assert read_table(table(tmp_path, text))[1] == []


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(1, 4), st.sampled_from(SPLITS)), max_size=6))
def test_a_row_is_refused_where_a_stretch_of_another_split_overlaps_it(rows: list[tuple[int, int, Split]]) -> None:
    found = [
        CaptionRow(n, "a.mp4", "", "", split, begin, begin + length) for n, (begin, length, split) in enumerate(rows)
    ]
    apart = all(
        one.split == other.split or one.stretch[1] <= other.stretch[0] or other.stretch[1] <= one.stretch[0]
        for one in found
        for other in found
    )
    assert (not list(overlaps(found, lambda row: row.split))) == apart


@pytest.mark.parametrize(
    ("column", "cells", "fact"),
    [
        ("start", ["0:05", "1:05.5", "0:01:05", "00:00:05,5"], "write seconds, for example 65.5 for 1:05.5"),
        ("start", ["1,5", "0,25"], "with a point"),
        ("video", ["videos/a.mp4", "./videos/b.mp4", "videos/./c.mp4"], "remove `videos/`"),
        ("video", ["own/videos/a.mp4", "own/videos/b.mp4"], "remove `own/videos/`"),
        ("video", ["/home/me/videos/a.mp4", "/home/me/videos/c.mp4"], "remove `/home/me/videos/`"),
    ],
)
def test_one_mistake_in_all_rows_is_reported_in_one_line_with_its_remedy(
    tmp_path: Path, column: str, cells: list[str], fact: str
) -> None:
    (tmp_path / "videos").mkdir()
    for name in "abc":
        (tmp_path / f"videos/{name}.mp4").touch()
    named = [(cell, "") if column == "video" else ("a.mp4", cell) for cell in cells]
    lines = [f'{name},c{number},cats,train,"{time}",' for number, (name, time) in enumerate(named)]
    (problem,) = read_table(table(tmp_path, HEADER + "\n".join(lines) + "\n"))[1]
    assert (problem.column, len(problem.rows)) == (column, len(cells))
    assert fact in problem.text


def test_the_folder_videos_may_have_a_subfolder_videos(tmp_path: Path) -> None:
    for place in ("videos/videos", "videos"):
        (tmp_path / place).mkdir(exist_ok=True, parents=True)
        (tmp_path / place / "a.mp4").touch()
    assert read_table(table(tmp_path, HEADER + "videos/a.mp4,sits,cats,train,,\n"))[1] == []


def test_the_table_s_own_path_is_refused_with_its_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"is a file: name the folder .* here {tmp_path}"):
        read_table(table(tmp_path, HEADER) / "captions.csv")


def test_all_problems_are_found_and_the_first_is_shown_with_the_number_of_others(tmp_path: Path) -> None:
    text = HEADER + "a.mp4,,cats,dev,,\nb.mp4,sits,cats,train,,\nc.mp4,sits,,train,,\n"
    assert len(read_table(table(tmp_path, text))[1]) == 3
    assert f"(2 more problems: `structalign data check {tmp_path}` lists all)" in complaint(tmp_path, text)


def test_an_invalid_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"captions\.csv does not exist: a folder of your own videos needs"):
        read_captions(tmp_path)
    (tmp_path / "captions.csv").write_bytes(HEADER.encode() + "köche".encode("latin-1"))
    with pytest.raises(UserError, match="is not UTF-8"):
        read_captions(tmp_path)
    assert "the table has no rows" in complaint(tmp_path, HEADER)
    assert "is not a CSV table" in complaint(tmp_path, HEADER + '"a.mp4" x,sits,cats,train,,\n')


def test_tasks_and_table_must_fit(tmp_path: Path) -> None:
    text = (
        HEADER + "a.mp4,sits,cats,train,,\nd.mp4,sits,cats,train,,\nb.mp4,sits,cats,test,,\nc.mp4,sits,dogs,train,,\n"
    )
    rows = read_captions(table(tmp_path, text))
    assert categories(rows) == ["cats", "dogs"]
    said = [str(problem) for problem in against_tasks(rows, split_categories(["cats", "birds", "owls"], 2))]
    assert [text.rpartition(": ")[0] for text in said] == [
        "row 5, column `category`: 'dogs' is in no task of tasks.yaml",
        "'birds' of task t01 has no training video",
        "'owls' of task t02 has no training video",
        "task t02 has no test video",
    ]


def test_a_category_that_is_spelled_in_two_ways_is_named_in_both(tmp_path: Path) -> None:
    rows = read_captions(table(tmp_path, HEADER + "a.mp4,sits,bars,train,,\n"))
    assert "'bars' is in no task of tasks.yaml, which has 'barz'" in str(
        against_tasks(rows, split_categories(["barz"], 1))[0]
    )


def test_a_task_needs_two_training_videos(tmp_path: Path) -> None:
    text = HEADER + "a.mp4,sits,cats,train,,\na.mp4,sleeps,cats,train,,\nb.mp4,sits,cats,test,,\n"
    with pytest.raises(UserError, match=r"task t01 \(cats\) has only one training video"):
        read_captions(table(tmp_path, text), split_categories(["cats"], 1))


@pytest.mark.parametrize(
    ("start", "end", "stretch"), [(None, 5.0, (0.0, 5.0)), (2.0, None, (2.0, math.inf)), (None, None, (0.0, math.inf))]
)
def test_an_open_stretch_begins_at_zero_and_never_ends(
    start: float | None, end: float | None, stretch: tuple[float, float]
) -> None:
    assert CaptionRow(2, "a.mp4", "a dog", "dogs", "train", start, end).stretch == stretch
