"""What a file says of itself: its format, its tracks, their colours and lengths. A header may lie.

So it decides nothing that decoding can show: which track, which colours, and a guess of the length. It is read from
what ffmpeg prints when it opens a file, since the wheel brings no ffprobe. A text of the file cannot pass for one of
these lines by its title or by its name: titles are indented, and the file has no name here.
"""

import re
from dataclasses import dataclass

from structalign.data.decoding.broken import BrokenVideo

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

# Formats whose header declares a length; others are measured by ffmpeg from what they hold
DECLARING = {"mov", "matroska", "avi", "flv", "asf", "mxf", "rm", "ivf"}

# Formats that hold no length of a frame; ffmpeg then makes one up from a frame rate
WITHOUT_LENGTHS = {"flv", "asf"}


@dataclass(frozen=True)
class Colours:
    """A high dynamic range that must be mapped: ffmpeg's names of its transfer, primaries, matrix and range."""

    transfer: str
    primaries: str
    matrix: str
    range: str


@dataclass(frozen=True)
class Header:
    """What decoding starts from.

    track: ffmpeg's name of the stream that is shown, after `0:`; `g:0` is a picture made of tiles.
    size: width and height in square pixels, or None; rate: frames a second, or None.
    length: seconds that the file declares, or None; `declared` if a header says so and not a measurement;
    `of_track` if it is the track's own; start: seconds, the first stamp in the file.
    still: whether it is a picture, and what stands behind it no second frame.
    codec, sound: ffmpeg's names of how the track and the first sound are encoded; empty for none.
    turn: degrees of a rotation that is no quarter turn, else None; others: whether there are other tracks;
    first: whether the track is the first that could be shown.
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
        """Whether it is a picture made of tiles, each of them a stream."""
        return self.track.startswith("g:")

    @property
    def plain(self) -> bool:
        """Whether the first track, decoded as it comes, is what is shown."""
        return self.first and self.lengths and not self.still and self.colours is None and self.turn is None

    @property
    def lengths(self) -> bool:
        """Whether the file itself says how long a frame is shown."""
        return self.format not in WITHOUT_LENGTHS


def parse(log: str, stream: bool = False) -> Header | None:
    """The header from ffmpeg's log of opening a file; None where it was not opened.

    `stream`: pictures that follow each other are a video.

    BrokenVideo where no track can be shown as it is meant.
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
        raise BrokenVideo("it has no video stream")
    match, about = next((item for item in shown if "(default)" in item[0][4]), shown[0])
    if "(dependent)" in match[4]:  # a tile, of a picture that ffmpeg could not put together
        raise BrokenVideo("it is made of tiles that make no whole picture")
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
    """Width and height as shown, where no rotation is known."""
    found = SIZE.search(about)
    if not found or not int(found[1]) * int(found[2]):
        return None
    wide = int(found[3]) / int(found[4]) if found[3] and int(found[3]) * int(found[4]) else 1.0
    return int(found[1]) * wide, float(found[2])


def _colours(about: str) -> Colours | None:
    """HLG and PQ; what the file leaves open is what such videos have."""
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
    """BrokenVideo for Dolby Vision that only Dolby's own decoder shows right."""
    found = DOLBY.search(about)
    if found and int(found[2]) == 0 and int(found[1]) not in (4, 7):  # these two had a base layer before ids came
        raise BrokenVideo(f"it is Dolby Vision of profile {found[1]}, without a base layer that others can show")


def _odd_turn(about: str) -> float | None:
    found = TURN.search(about)
    if not found or abs(float(found[1]) - 90 * round(float(found[1]) / 90)) < 1:  # as ffmpeg tells quarter turns
        return None
    return float(found[1])
