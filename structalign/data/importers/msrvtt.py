"""MSR-VTT: training captions from its annotation JSON, one caption per test video from the CSV."""

import csv
from pathlib import Path
from typing import Any

from structalign.data.importers.ctvr import Benchmark, Source, Text, assemble, read_json_file, without_repeats
from structalign.data.manifest import Split
from structalign.errors import UserError
from structalign.store import refuse_pipe
from structalign.text import plural

MSRVTT = (
    *("music", "people", "gaming", "sports and actions", "news, events and politics", "education", "tv shows"),
    *("movies and comedy", "animation", "vehicles and autos", "howto", "travel", "science and technology"),
    *("animals and pets", "kids and family", "documentary", "food and drink", "cooking", "beauty and fashion"),
    "advertisement",
)


def msrvtt(splits: Path, videos: Path, annotations: Path, test_captions: Path) -> Benchmark:
    """MSR-VTT: training captions from its annotation JSON, one caption per test video from the CSV."""
    sources: dict[Split, Source] = {
        "train": Source(_sentences(annotations), str(annotations)),
        "test": Source(_csv_captions(test_captions), str(test_captions)),
    }
    return assemble(splits, videos, sources, _msrvtt_name)


def _msrvtt_name(category: Any) -> str:
    if not isinstance(category, int) or not 0 <= category < len(MSRVTT):
        raise UserError(
            f"the split file has category {category!r}, but MSR-VTT has 0 to 19: name MSR-VTT's split file."
        )
    return MSRVTT[category]


def _sentences(path: Path) -> dict[str, list[Text]]:
    tree = read_json_file(path)
    try:
        return without_repeats((row["video_id"], Text(row["caption"])) for row in tree["sentences"])
    except (AttributeError, TypeError, KeyError):
        raise UserError(
            f"{path} has no `sentences` with video_id and caption: "
            "name MSR-VTT's annotations, for example train_val_videodatainfo.json."
        ) from None


def _csv_captions(path: Path) -> dict[str, list[Text]]:
    try:
        refuse_pipe(path)
        with path.open(encoding="utf-8-sig", newline="") as stream:
            lines = list(csv.reader(stream))
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror}): name MSRVTT_CL_validation.csv.") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is not a CSV table ({error}): name MSRVTT_CL_validation.csv.") from None
    header = lines[0] if lines else []
    if not {"video_id", "sentence"} <= set(header):
        raise UserError(f"{path} lacks the columns video_id and sentence: name MSRVTT_CL_validation.csv.")
    rows = (_cells(path, number, header, line) for number, line in enumerate(lines[1:], start=2) if line)
    return without_repeats((row["video_id"], Text(row["sentence"])) for row in rows)


def _cells(path: Path, number: int, header: list[str], line: list[str]) -> dict[str, str]:
    """The cells of a row by column. If the caption is last, it may have commas without quotes."""
    last = len(header) - 1
    if header[last] == "sentence" and len(line) > len(header):
        line = [*line[:last], ",".join(line[last:])]
    row = dict(zip(header, line, strict=False))
    if len(line) != len(header) or not row["video_id"]:
        said = f"row {number} has {plural(len(line), 'cell')}, but the header has {len(header)}"
        raise UserError(f"{path}: {said}: put a caption with commas in quotes.")
    if any("\n" in cell or "\r" in cell for cell in line):
        raise UserError(f"{path}: row {number} spans several lines: close the quotes of its caption.")
    return row
