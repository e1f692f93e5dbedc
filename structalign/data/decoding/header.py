"""A file's header: its format, tracks, colours and lengths. A header may be wrong.

So it only gives the track, the colours and a guess of the length. Decoding decides everything else. The header is
parsed from what ffmpeg prints when it opens a file, since the wheel has no ffprobe. Titles in the file cannot imitate
these lines, since ffmpeg indents them, and the file has no name here.
"""

import re
from dataclasses import dataclass

from structalign.data.decoding.broken import NO_STREAM, BrokenVideo

FORMAT = re.compile(r"^\[info\] Input #0, (\S+), from ", re.M)
CLOCK = r"(\d+):(\d\d):(\d\d(?:\.\d+)?)"
DURATION = re.compile(rf"^\[info\]   Duration: (?:{CLOCK}|N/A)(?:, start: (-?\d+\.\d+))?", re.M)
TRACK = re.compile(r"^\[info\] +Stream (group )?#0:(\d+)(?:\[\w+\])?(?:\([^)\n]*\))?: ([\w ]+): (.*)$", re.M)
SIZE = re.compile(r", (\d+)x(\d+)(?: \[SAR (\d+):(\d+) )?")
RATE = re.compile(r", (\d+(?:\.\d+)?) fps")
HDR = re.compile(r", (\w+)\((?:(tv|pc), )?([\w-]+)/([\w-]+)/(smpte2084|arib-std-b67)[,)]")
DOLBY = re.compile(r"DOVI configuration record: .*profile: (\d+),.* compatibility id: (\d+)")
TURN = re.compile(r"^\[info\] +(?:Display Matrix|displaymatrix): rotation of (-?\d+\.\d+) degrees", re.M)
SOUND = re.compile(r"^\[info\] +Stream #0:\d+(?:\[\w+\])?(?:\([^)\n]*\))?: Audio: (\w+)", re.M)
TRACK_LENGTH = re.compile(rf"^\[info\] +DURATION +: {CLOCK}", re.M)

# Formats whose header declares a length. For others ffmpeg measures it.
DECLARING = {"mov", "matroska", "avi", "flv", "asf", "mxf", "rm", "ivf"}

# Formats without the length of a frame. ffmpeg then computes one from a frame rate.
WITHOUT_LENGTHS = {"flv", "asf"}


@dataclass(frozen=True)
class Colours:
    """Colours of high dynamic range that must be mapped, by ffmpeg's names: transfer, primaries, matrix and range."""

    transfer: str
    primaries: str
    matrix: str
    range: str


@dataclass(frozen=True)
class Header:
    """The parts of a header that decoding uses.

    track: ffmpeg's name of the stream to show, after `0:`. `g:0` is a picture made of tiles.
    size: width and height in square pixels, or None. rate: frames per second, or None.
    length: declared seconds, or None. `declared`: whether it comes from a header, not a measurement.
    `of_track`: whether it is the track's length. start: the first timestamp of the file, in seconds.
    still: whether it is a single picture, so that bytes after it are no second frame.
    codec, sound: ffmpeg's names of the codecs of the track and of the first sound track, or an empty text.
    turn: degrees of a rotation that is no quarter turn, else None. others: whether there are other tracks.
    first: whether the track is the first one that could be shown.
    """

    format: str
    track: str
    size: tuple[float, float] | None = None
    rate: float | None = None
    length: float | None = None
    declared: bool = False
    of_track: bool = False
    start: float = 0.0
    colours: Colours | None = None
    turn: float | None = None
    first: bool = False
    others: bool = False
    still: bool = False
    codec: str = ""
    sound: str = ""

    @property
    def tiled(self) -> bool:
        """Whether it is a picture made of tiles, where each tile is a stream."""
        return self.track.startswith("g:")

    @property
    def plain(self) -> bool:
        """Whether the first track is shown unchanged."""
        return self.first and self.lengths and not self.still and self.colours is None and self.turn is None

    @property
    def lengths(self) -> bool:
        """Whether the file gives the length of each frame."""
        return self.format not in WITHOUT_LENGTHS


def parse(log: str, stream: bool = False) -> Header | None:
    """The header from ffmpeg's log of opening a file. None if ffmpeg did not open it.

    `stream`: a sequence of pictures counts as a video. Raises BrokenVideo if no track can be shown correctly.
    """
    inputs = list(FORMAT.finditer(log))
    if not inputs:
        return None
    log = log[inputs[-1].start() :]
    tracks = list(TRACK.finditer(log))
    ends = [*(match.start() for match in tracks[1:]), len(log)]
    shown = [
        (match, log[match.start() : end])
        for match, end in zip(tracks, ends, strict=False)
        if match[3] in ("Video", "Tile Grid") and "(attached pic)" not in match[4] and "thumbnails)" not in match[4]
    ]
    if not shown:
        raise BrokenVideo(NO_STREAM)
    match, about = next((item for item in shown if "(default)" in item[0][4]), shown[0])
    if "(dependent)" in match[4]:  # a tile of a picture that ffmpeg could not join
        raise BrokenVideo("it is made of tiles that do not form a whole picture")
    _refuse_dolby(about)
    name, sound = inputs[-1][1], SOUND.search(log)
    overall, own = DURATION.search(log), TRACK_LENGTH.search(about)
    length = _seconds(*own.groups()) if own else _seconds(*overall.groups()[:3]) if overall and overall[1] else None
    rate = RATE.search(match[4])
    return Header(
        format=name,
        track=f"g:{match[2]}" if match[1] else match[2],
        size=_size(match[4]),
        rate=float(rate[1]) if rate and float(rate[1]) > 0 else None,
        length=length if length else None,
        declared=name.split(",")[0] in DECLARING,
        of_track=own is not None,
        start=float(overall[4]) if overall and overall[4] else 0.0,
        colours=_colours(match[4]),
        turn=_odd_turn(about),
        first=match is shown[0][0] and not match[1],
        others=len(tracks) > 1,
        still=name.endswith("_pipe") and not stream,
        codec=match[4].split(" ", 1)[0].split(",", 1)[0],
        sound=sound[1] if sound else "",
    )


def _seconds(hours: str, minutes: str, seconds: str) -> float:
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def _size(about: str) -> tuple[float, float] | None:
    """Displayed width and height, if no rotation is known."""
    found = SIZE.search(about)
    if not found or not int(found[1]) * int(found[2]):
        return None
    wide = int(found[3]) / int(found[4]) if found[3] and int(found[3]) * int(found[4]) else 1.0
    return int(found[1]) * wide, float(found[2])


def _colours(about: str) -> Colours | None:
    """The colours of an HLG or PQ video, with usual values for what the file leaves out."""
    if (found := HDR.search(about)) is None:
        return None
    pixels, levels, matrix, primaries, transfer = found.groups()
    rgb = any(order in pixels for order in ("gbr", "rgb", "bgr"))
    return Colours(
        transfer,
        "bt2020" if primaries in ("unknown", "reserved") else primaries,
        "gbr" if rgb else "bt2020nc" if matrix in ("unknown", "reserved", "gbr") else matrix,
        "full" if levels == "pc" else "limited",
    )


def _refuse_dolby(about: str) -> None:
    """Raise BrokenVideo for Dolby Vision that only Dolby's decoder shows correctly."""
    found = DOLBY.search(about)
    if found and int(found[2]) == 0 and int(found[1]) not in (4, 7):  # profiles 4 and 7 have a base layer without an id
        raise BrokenVideo(
            f"it is Dolby Vision profile {found[1]}, which has no base layer that other decoders can show"
        )


def _odd_turn(about: str) -> float | None:
    found = TURN.search(about)
    if not found or abs(float(found[1]) - 90 * round(float(found[1]) / 90)) < 1:  # ffmpeg's rule for quarter turns
        return None
    return float(found[1])
