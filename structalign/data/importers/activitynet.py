"""ActivityNet Captions: the first segment of each video with its first sentence."""

import math
from pathlib import Path
from typing import Any

from structalign.data.importers.ctvr import Benchmark, Source, Text, assemble, read_json_file, without_repeats
from structalign.data.manifest import Split
from structalign.errors import UserError
from structalign.text import shortened

WAY = "name a file of ActivityNet Captions, for example train.json"


def activitynet(splits: Path, videos: Path, train_captions: Path, test_captions: Path) -> Benchmark:
    """ActivityNet Captions: the first segment of each video with its first sentence."""
    sources: dict[Split, Source] = {
        "train": Source(_segments(train_captions), str(train_captions)),
        "test": Source(_segments(test_captions), str(test_captions)),
    }
    return assemble(splits, videos, sources, str)


def _segments(path: Path) -> dict[str, list[Text]]:
    tree = read_json_file(path)
    if not isinstance(tree, dict):
        raise UserError(f"{path} does not have one entry per video: {WAY}.")
    return without_repeats((video, _first_segment(path, video, about)) for video, about in tree.items())


def _first_segment(path: Path, video: str, about: Any) -> Text:
    """The first sentence and its stretch.

    A stretch that begins before the video is cut. If the stretch is empty, the video counts as missing.
    """
    try:
        sentence, (first, second) = about["sentences"][0], about["timestamps"][0]
        start, end = sorted((float(first), float(second)))
        if not isinstance(sentence, str):
            raise TypeError
    except (AttributeError, TypeError, KeyError, IndexError, ValueError, OverflowError):
        raise UserError(f"{path}: {shortened(video)} has no valid timestamps and sentences: {WAY}.") from None
    said = f"its first segment is [{first}, {second}]"
    if not max(start, 0.0) < end < math.inf:
        return Text(sentence, odd=f"{said}: the video counts as missing", empty=True)
    if start < 0:
        return Text(sentence, 0.0, end, odd=f"{said}: cut to begin at 0")
    return Text(sentence, start, end)
