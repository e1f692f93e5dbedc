"""Signs that a decodable file is damaged: errors of the decoder, and a length that differs from the declared one."""

import re
from itertools import dropwhile

from structalign.data.decoding.header import Header

COMPLAINT = re.compile(r"^((?:\[[^]]* @ \w+\] )*)\[(error|fatal|warning)\] (.+)$", re.M)
DECODING = re.compile(r"^\[info\] Stream mapping:$", re.M)  # messages before this line concern all tracks, also sound
READER = "[in#"  # the container's reader, which concerns all tracks
WRITER = re.compile(r"\[(?:vost#|out#|framecrc |image2pipe )")  # about the output: no fault of the file
# ffmpeg's warnings about a frame that its decoder repaired, and about a container that lost pictures
CORRUPT = re.compile(r"corrupt decoded frame|corrupt input packet|edit unit sync lost")
# A recording of a broadcast may begin and end anywhere, even within a packet
CUT_ANYWHERE = ("mpegts", "corrupt input packet")
# Errors that concern no picture: odd metadata in a photograph, bytes after the last tag of an FLV file
HARMLESS = re.compile(r"unable to decode APP fields|Packet mismatch")
# A recording that begins between two key frames: frames before the first key frame can't be decoded and are not shown
HEADLESS = re.compile(r"non-existing [PS]PS|[PSV]PS id out of range|Invalid frame dimensions 0x0")
AFTER_HEADLESS = re.compile(
    HEADLESS.pattern
    + "|no frame|co located POCs|Could not find ref|frame RPS|slice_header|parsing NAL|submitting packet"
    + "|Decoding error"
)
# About a picture that did decode: bytes after it that are no second picture
BEHIND_PICTURE = re.compile(r"signature|submitting packet|Decoding error")
SLACK, SHARE = 1.0, 0.05  # tolerance of a declared length: seconds, and share of the length


def complaints(log: str, all_tracks: bool = False) -> list[str]:
    """The errors that the decoder and the container's reader report, in order.

    `all_tracks`: also messages of decoders while the file was opened.
    """
    begin = None if all_tracks else DECODING.search(log)
    return [
        match[3].strip()
        for match in COMPLAINT.finditer(log)
        if (not begin or match.start() > begin.end() or match[1].startswith(READER))
        and (match[2] != "warning" or CORRUPT.match(match[3]))
        and not (HARMLESS.search(match[3]) or WRITER.match(match[1]))
    ]


def errors(log: str, header: Header) -> list[str]:
    """The errors that concern a frame that is shown."""
    found = complaints(log)
    if header.still:
        found = [text for text in found if not BEHIND_PICTURE.search(text)]
    if header.format == CUT_ANYWHERE[0]:
        found = [text for text in found if not text.startswith(CUT_ANYWHERE[1])]
    if HEADLESS.search(log):
        found = list(dropwhile(AFTER_HEADLESS.search, found))
    return found


def wrong_length(header: Header, latest: float, before: float, asked: float | None) -> bool:
    """Whether decoding found another length than the header declares.

    All times are in seconds. `latest` is the latest end of the last frame, `before` the time of the frame before it,
    and `asked` the end of the clip, or None. Containers count from 0 or from the first timestamp, and both are right.
    """
    if not header.declared or header.length is None:
        return False
    starts = (0, header.start, abs(header.start))  # edit lists may drop pictures that begin before 0
    lengths = [header.length - start for start in starts if header.length > start]
    slack = max(SLACK, SHARE * max(lengths))
    short = latest < (min(lengths) if asked is None else min(*lengths, asked)) - slack
    return short or (asked is None and before > max(lengths) + slack)
