"""Signs that a file which decodes is damaged: what the decoder complains of, and a length that is not as declared."""

import re
from itertools import dropwhile

from structalign.data.decoding.header import Header

COMPLAINT = re.compile(r"^((?:\[[^]]* @ \w+\] )*)\[(error|fatal|warning)\] (.+)$", re.M)
DECODING = re.compile(
    r"^\[info\] Stream mapping:$", re.M
)  # what stands before it was said of all tracks, also of sound
READER = "[in#"  # of the container, of which all tracks are
WRITER = re.compile(r"\[(?:vost#|out#|framecrc |image2pipe )")  # of what comes out: no fault of the file
# What ffmpeg says, as a warning, of a frame that its decoder has patched up, and of a container that lost pictures
CORRUPT = re.compile(r"corrupt decoded frame|corrupt input packet|edit unit sync lost")
# A recording of a broadcast begins and ends anywhere, also within a packet
CUT_ANYWHERE = ("mpegts", "corrupt input packet")
# Errors that say nothing of a picture: an odd note in a photograph, what stands behind the last tag of an FLV file
HARMLESS = re.compile(r"unable to decode APP fields|Packet mismatch")
# A recording that begins between two key frames: what cannot be decoded before the first one is not shown
HEADLESS = re.compile(r"non-existing [PS]PS|[PSV]PS id out of range|Invalid frame dimensions 0x0")
AFTER_HEADLESS = re.compile(
    HEADLESS.pattern
    + "|no frame|co located POCs|Could not find ref|frame RPS|slice_header|parsing NAL|submitting packet"
    + "|Decoding error"
)
# Of a picture that did decode: bytes behind it, which are no second one
BEHIND_PICTURE = re.compile(r"signature|submitting packet|Decoding error")
SLACK, SHARE = 1.0, 0.05  # seconds, and share of the length, by which a declared length may be wrong


def complaints(log: str, all_tracks: bool = False) -> list[str]:
    """What the decoder and the reader of the container report as errors, in order.

    `all_tracks`: also what decoders said while the file was opened.
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
    """The complaints that concern a frame which is shown."""
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

    `latest`: until when the last frame may be shown; `before`: when the one before it appears; `asked`: until when the
    clip goes, or None; all in seconds. Containers count from 0 or from the first stamp; either is right.
    """
    if not header.declared or header.length is None:
        return False
    starts = (0, header.start, abs(header.start))  # edits may leave pictures out that begin before 0
    lengths = [header.length - start for start in starts if header.length > start]
    slack = max(SLACK, SHARE * max(lengths))
    short = latest < (min(lengths) if asked is None else min(*lengths, asked)) - slack
    return short or (asked is None and before > max(lengths) + slack)
