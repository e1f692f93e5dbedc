"""MSR-VTT: training captions from its annotation JSON, one caption a test video from the CSV."""

import csv
from pathlib import Path
from typing import Any

from structalign.data.importers.ctvr import Benchmark, Source, Text, assemble, read_json_file, without_repeats
from structalign.data.manifest import Split
from structalign.errors import UserError

MSRVTT = (
    *("music", "people", "gaming", "sports and actions", "news, events and politics", "education", "tv shows"),
    *("movies and comedy", "animation", "vehicles and autos", "howto", "travel", "science and technology"),
    *("animals and pets", "kids and family", "documentary", "food and drink", "cooking", "beauty and fashion"),
    "advertisement",
)


def msrvtt(splits: Path, videos: Path, annotations: Path, test_captions: Path) -> Benchmark:
    """MSR-VTT: training captions from its annotation JSON, one caption a test video from the CSV."""
    sources: dict[Split, Source] = {
        "train": Source(_sentences(annotations), str(annotations)),
        "test": Source(_csv_captions(test_captions), str(test_captions)),
    }
    return assemble(splits, videos, sources, _msrvtt_name)


def _msrvtt_name(category: Any) -> str:
    if not isinstance(category, int) or not 0 <= category < len(MSRVTT):
        raise UserError(f"the split file has a category {category!r}: MSR-VTT's are the numbers 0 to 19.")
    return MSRVTT[category]


def _sentences(path: Path) -> dict[str, list[Text]]:
    tree = read_json_file(path)
    try:
        return without_repeats((row["video_id"], Text(row["caption"])) for row in tree["sentences"])
    except (AttributeError, TypeError, KeyError):
        raise UserError(
            f"{path} has no `sentences` with video_id and caption: "
            "name MSR-VTT's annotations, as train_val_videodatainfo.json."
        ) from None


def _csv_captions(path: Path) -> dict[str, list[Text]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.DictReader(stream))
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror}): name MSRVTT_CL_validation.csv.") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is no CSV table ({error}): name MSRVTT_CL_validation.csv.") from None
    if any(not row.get("video_id") or row.get("sentence") is None for row in rows):
        raise UserError(f"{path} lacks the columns video_id and sentence: name MSRVTT_CL_validation.csv.")
    return without_repeats((row["video_id"], Text(row["sentence"])) for row in rows)
