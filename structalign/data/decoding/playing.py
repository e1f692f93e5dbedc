"""How a browser gets to see a file: as it is, in another container, or encoded anew.

By what Chromium was seen to play; its `canPlayType` is no guide, since HEVC fails there without an error.
"""

from typing import Literal

from structalign.data.decoding.header import Header

Playing = Literal["direct", "remux", "transcode"]

CONTAINERS = {"mov", "mp4", "matroska", "webm"}
CODECS = {"h264", "vp8", "vp9", "av1"}
SOUNDS = {"", "aac", "mp3", "opus", "vorbis", "flac"}


def playing(header: Header) -> Playing:
    """`direct`: the file itself; `remux`: its pictures in a container that plays; `transcode`: pictures made anew."""
    if header.codec not in CODECS:
        return "transcode"
    if not CONTAINERS & set(header.format.split(",")) or header.sound not in SOUNDS:
        return "remux"
    return "direct"
