"""ActivityNet Captions: the first segment of each video with its first sentence."""

from pathlib import Path
from typing import Any

from structalign.data.importers.ctvr import Benchmark, Source, Text, assemble, read_json_file, without_repeats
from structalign.data.manifest import Split
from structalign.errors import UserError


def activitynet(splits: Path, videos: Path, train_captions: Path, test_captions: Path) -> Benchmark:
    """ActivityNet Captions: the first segment of each video with its first sentence."""
    sources: dict[Split, Source] = {
        "train": Source(_segments(train_captions), str(train_captions)),
        "test": Source(_segments(test_captions), str(test_captions)),
    }
    return assemble(splits, videos, sources, str)


def _segments(path: Path) -> dict[str, list[Text]]:
    tree = read_json_file(path)
    try:
        return without_repeats((video, _first_segment(about)) for video, about in tree.items())
    except (AttributeError, TypeError, KeyError, IndexError, ValueError):
        raise UserError(
            f"{path} doesn't give every video its timestamps and sentences: "
            "name one of ActivityNet Captions' files, as train.json."
        ) from None


def _first_segment(about: Any) -> Text:
    start, end = sorted(map(float, about["timestamps"][0]))
    return Text(about["sentences"][0], start, end)
