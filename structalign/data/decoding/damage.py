"""Signs that a file which decodes is damaged: what the decoder complains of, and a length that is not as declared."""

import re
from itertools import dropwhile

from structalign.data.decoding.header import Header

COMPLAINT = re.compile(r"^(?:\[[^]]* @ \w+\] )*\[(error|fatal|warning)\] (.+)$", re.M)
DECODING = re.compile(
    r"^\[info\] Stream mapping:$", re.M
)  # what stands before it was said of all tracks, also of sound
CORRUPT = "corrupt decoded frame"  # what ffmpeg says, as a warning, of a frame that its decoder has patched up
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

    `all_tracks`: also what was said while the file was opened.
    """
    begin = None if all_tracks else DECODING.search(log)
    return [
        match[2].strip()
        for match in COMPLAINT.finditer(log, begin.end() if begin else 0)
        if (match[1] != "warning" or match[2].strip() == CORRUPT) and not HARMLESS.search(match[2])
    ]


def errors(log: str, still: bool) -> list[str]:
    """The complaints that concern a frame which is shown; `still`: of a picture."""
    found = complaints(log)
    if still:
        found = [text for text in found if not BEHIND_PICTURE.search(text)]
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
    lengths = [length for length in (header.length, header.length - header.start) if length > 0]
    slack = max(SLACK, SHARE * max(lengths))
    short = latest < (min(lengths) if asked is None else min(*lengths, asked)) - slack
    return short or (asked is None and before > max(lengths) + slack)
