"""How a file is sent to a browser: unchanged, in another container, or encoded again.

The rules follow tests with Chromium. Its `canPlayType` is not reliable, since HEVC fails without an error.
"""

from typing import Literal

from structalign.data.decoding.header import Header

Playing = Literal["direct", "remux", "transcode"]

CONTAINERS = {"mov", "mp4", "matroska", "webm"}
CODECS = {"h264", "vp8", "vp9", "av1"}
SOUNDS = {"", "aac", "mp3", "opus", "vorbis", "flac"}


def playing(header: Header) -> Playing:
    """`direct`: the file itself. `remux`: its pictures in a playable container. `transcode`: encoded again."""
    if header.codec not in CODECS:
        return "transcode"
    if not CONTAINERS & set(header.format.split(",")) or header.sound not in SOUNDS:
        return "remux"
    return "direct"
