"""ffmpeg's command lines. Only this module knows ffmpeg's options and where the program is.

The video is passed as an open descriptor, `fd:`. Only this protocol and pipes are allowed, so ffmpeg cannot open other
files that a video names.
"""

import os
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import ffmpeg
from imageio_ffmpeg import get_ffmpeg_exe

from structalign.data.decoding.formats import ADMITTED
from structalign.data.decoding.header import DECLARING, Colours, Header
from structalign.data.decoding.selection import Selection, Steady
from structalign.errors import UserError

OLDEST = (6, 1)  # has `fd:` and `-enc_time_base filter`
LOOKAHEAD = 10  # seconds decoded after a stretch: the next frame tells how long its last frame is shown
LONGEST = 1e9  # seconds; a later end means the end of the file
ONE_PICTURE = 0.02  # seconds; ffmpeg gives a picture 1/25 s
MAX_PIXELS = 2**28  # of a decoded frame
SCALER = "bicubic+accurate_rnd+full_chroma_int+bitexact"
JUST_BELOW = 0.000001
EARLY = 3.0  # seconds before the target that a seek without an index aims at
ROUNDING = 0.001  # seconds by which a frame may begin before the requested time
WIDEST = 1280  # pixels of a video made for a browser
FRAGMENT = 250_000  # microseconds of a fragment; a browser waits for the first one
AT_ONCE = {"vcodec": "libx264", "preset": "ultrafast", "tune": "zerolatency", "crf": 26, "g": 50}
SMALLER = {"vcodec": "libx264", "preset": "superfast", "crf": 24, "g": 100, "threads": 1}
QUIET = ("-nostdin", "-hide_banner", "-nostats", "-loglevel", "repeat+level+info")
WHITE = 203  # cd/m2 of diffuse white in a high dynamic range, by ITU-R BT.2408
KNEE = 0.9  # linear light above which highlights are compressed

VERSION = re.compile(r"^ffmpeg version n?(\d+)\.(\d+)(\S*)", re.M)
UNKNOWN_OPTION = re.compile(
    r"Unrecognized option|Option \w+ not found|Protocol not found|No such filter|Unknown encoder"
)


def program() -> str:
    """The ffmpeg binary: $STRUCTALIGN_FFMPEG, or that of imageio-ffmpeg."""
    return os.environ.get("STRUCTALIGN_FFMPEG") or _bundled()


@cache
def _bundled() -> str:
    return str(get_ffmpeg_exe())


def refuse_old(log: str) -> None:
    """Raise a `UserError` if the version that ffmpeg prints is older than `OLDEST`. Other texts are accepted."""
    if (found := VERSION.search(log)) and (int(found[1]), int(found[2])) < OLDEST:
        raise UserError(
            f"ffmpeg {found[1]}.{found[2]}{found[3]} ({program()}) is too old: {OLDEST[0]}.{OLDEST[1]} is needed. "
            "Unset STRUCTALIGN_FFMPEG, or update imageio-ffmpeg."
        )


def refuse_unfit(log: str) -> None:
    """Raise a `UserError` if ffmpeg lacks an option that all our calls use: it is too old or built without a part."""
    if found := UNKNOWN_OPTION.search(log):
        line = log[log.rfind("\n", 0, found.start()) + 1 :].split("\n", 1)[0]
        raise UserError(
            f"ffmpeg ({program()}) is too old or lacks a part ({line.strip()}): {OLDEST[0]}.{OLDEST[1]} is needed. "
            "Unset STRUCTALIGN_FFMPEG, or update imageio-ffmpeg."
        )


def version() -> list[str]:
    """Ask for the version."""
    return [program(), "-version"]


def opening(source: int) -> list[str]:
    """Open the file and print what it is. ffmpeg then complains that it has nothing to do."""
    reading = ["-format_whitelist", ADMITTED, "-protocol_whitelist", "fd", "-fd", str(source)]
    return [program(), *QUIET, *reading, "-i", "fd:"]


def decoding(
    source: int,
    header: Header,
    times: int,
    end: float | None = None,
    pictures: Sequence[tuple[int, int]] = (),
    selected: tuple[Selection | Steady, int] | None = None,
) -> list[str]:
    """Decode the track up to `end` (seconds), upright.

    The pipe `times` gets framecrc of all frames. There, a frame's size in bytes is its display aspect in thousandths.
    `pictures` maps short sides (pixels) to pipes for PPM pictures. They show all frames, or those of the selection in
    `selected`, whose framecrc goes to the pipe given with it.
    """
    video = ffmpeg.input("fd:", **_reading(source, header, end))[header.track]
    if not pictures:
        return _compiled([_listing(video, times)])
    every, shown = (video.split()[index] for index in range(2))
    if selected:
        shown = shown.filter("select", selected[0].expression())
    copies = shown.split()
    outputs = [_listing(every, times)]
    outputs += [_pictures(copies[index], *each, header.colours) for index, each in enumerate(pictures)]
    if selected:
        outputs.append(_listing(copies[len(pictures)], selected[1]))
    return _compiled(outputs)


def _compiled(outputs: Sequence[Any]) -> list[str]:
    command = ffmpeg.merge_outputs(*outputs).global_args(*QUIET, "-filter_complex_threads", "1")
    return list(command.compile(cmd=program()))


def still(source: int, header: Header, at: float, width: int, pipe: int) -> list[str]:
    """The frame shown at `at` seconds, as JPEG to the pipe, at most `width` pixels wide."""
    seek, skip = _seek(header, at - ROUNDING)
    video = ffmpeg.input("fd:", **seek, **_reading(source, header, None))[header.track]
    options = {**skip, "vcodec": "mjpeg", "vframes": 1, "threads": 1, "q:v": 4}
    output = ffmpeg.output(_browsers(video, header, width, width), f"pipe:{pipe}", format="mjpeg", **options)
    return _compiled([output])


def moving(
    source: int, header: Header, begin: float, seconds: float, height: int, sound: bool, pipe: int, threads: int
) -> list[str]:
    """`seconds` of video from `begin` as H.264, at most `height` pixels high, streamed to the pipe."""
    seek, skip = _seek(header, begin)
    reading = {**_reading(source, header, None), **seek, "threads": threads}
    options = {
        **AT_ONCE,
        **skip,
        "t": f"{seconds:.6f}",
        "movflags": "empty_moov+default_base_moof",
        "frag_duration": FRAGMENT,
    }
    return _playable(ffmpeg.input("fd:", **reading), header, height, sound, f"pipe:{pipe}", options)


def copied(source: int, header: Header, height: int, out: int, pictures: bool) -> list[str]:
    """The whole file for a browser, written to the seekable descriptor `out`.

    With `pictures` it is encoded again. Otherwise its own pictures are put in another container.
    """
    file = ffmpeg.input("fd:", **_reading(source, header, None))
    options = {"fd": out} if pictures else {"fd": out, "vcodec": "copy"}
    return _playable(file, header, height, True, "fd:", SMALLER | options, pictures)


def _seek(header: Header, at: float) -> tuple[dict[str, str], dict[str, str]]:
    """Input and output options to begin at `at` seconds.

    Without an index a seek may end up too late. So it aims earlier, and what is decoded before `at` is dropped.
    """
    if header.still or at <= 0:
        return {}, {}
    early = 0.0 if header.format.split(",")[0] in DECLARING else EARLY
    aim = max(at - early, 0.0)
    return {"ss": f"{aim:.6f}"} if aim else {}, {"ss": f"{at - aim:.6f}"} if at > aim else {}


def _playable(
    file: Any, header: Header, height: int, sound: bool, place: str, options: Mapping[str, Any], pictures: bool = True
) -> list[str]:
    video = file[header.track]
    tracks = [_browsers(video, header, WIDEST, height) if pictures else video]
    if sound and header.sound:
        tracks.append(file["a:0"])
        options = {**options, "acodec": "aac", "ac": 2, "b:a": "128k"}
    return _compiled([ffmpeg.output(*tracks, place, format="mp4", **options)])


def _browsers(video: Any, header: Header, width: int, height: int) -> Any:
    """Square pixels in standard colours, scaled down to `width` and `height` if larger. Both sides are even."""
    share = f"min(1,min({width}/(iw*sar),{height}/ih))"
    scaled = video.filter("scale", w=f"max(2,2*floor(iw*sar*{share}/2))", h=f"max(2,2*floor(ih*{share}/2))")
    mapped = _mapped(scaled, header.colours) if header.colours is not None else scaled
    return mapped.filter("setsar", 1).filter("format", "yuv420p")


def packets(source: int, header: Header, times: int) -> list[str]:
    """List the packets of all other tracks without decoding, as framecrc to the pipe `times`."""
    reading = ["-format_whitelist", ADMITTED, "-protocol_whitelist", "fd", "-fd", str(source), "-i", "fd:"]
    tracks = ["-map", "0:v?", "-map", "0:a?", "-map", "0:s?", "-map", "0:d?", "-map", f"-0:{header.track}"]
    return [program(), *QUIET, *reading, *tracks, "-c", "copy", "-copy_unknown", "-f", "framecrc", f"pipe:{times}"]


def _reading(source: int, header: Header, end: float | None) -> Mapping[str, Any]:
    options: dict[str, Any] = {
        "threads": 1,
        "format_whitelist": ADMITTED,
        "protocol_whitelist": "fd",
        "max_pixels": MAX_PIXELS,
        "fd": source,
    }
    if header.turn is not None:  # to the nearest quarter: ffmpeg would leave black corners
        options["display_rotation"] = 90 * round(header.turn / 90)
    if header.still:
        options["t"] = ONE_PICTURE
    elif end is not None and end < LONGEST:
        options["t"] = f"{end + LOOKAHEAD:.6f}"
    return options


def _listing(video: Any, pipe: int) -> Any:
    """framecrc of a picture that is one pixel high. Its width in pixels is the display aspect in thousandths."""
    aspect = "max(1,min(65535,round(1000*iw*sar/ih)))"
    line = video.filter("scale", w=aspect, h=1, flags="neighbor").filter("format", "gray")
    return ffmpeg.output(
        line,
        f"pipe:{pipe}",
        format="framecrc",
        vcodec="rawvideo",
        fps_mode="passthrough",
        enc_time_base="filter",
        noautoscale=None,
    )


def _pictures(video: Any, size: int, pipe: int, colours: Colours | None) -> Any:
    """PPM pictures: square pixels, short side `size`, aspect kept, high dynamic range mapped to standard range.

    Like CLIP's preprocessing, the long side is rounded down. A quotient of doubles may be just below a whole number.
    """
    wide = "gte(iw*sar,ih)"
    width = f"if({wide},max({size},floor({size}*iw*sar/ih+{JUST_BELOW})),{size})"
    height = f"if({wide},{size},max({size},floor({size}*ih/(iw*sar)+{JUST_BELOW})))"
    scaled = video.filter("scale", w=width, h=height, flags=SCALER)
    if colours is not None:
        scaled = _mapped(scaled, colours)
    rgb = scaled.filter("format", "rgb24")
    return ffmpeg.output(rgb, f"pipe:{pipe}", format="image2pipe", vcodec="ppm", fps_mode="passthrough", threads=1)


def _mapped(video: Any, colours: Colours) -> Any:
    """Map HLG or PQ to BT.709: linear light with diffuse white at 1, converted primaries, compressed highlights."""
    return (
        video.filter("format", "yuv444p16" if colours.matrix != "gbr" else "gbrp16")
        .filter(  # set from the header, since a picture joined from tiles has lost it
            "setparams",
            color_trc=colours.transfer,
            color_primaries=colours.primaries,
            colorspace=colours.matrix,
            range=colours.range,
        )
        .filter("zscale", t="linear", npl=WHITE)
        .filter("format", "gbrpf32le")
        .filter("zscale", p="bt709")
        .filter("tonemap", tonemap="mobius", param=KNEE, desat=0)
        .filter("zscale", t="bt709", m="gbr", r="full")
        .filter("format", "gbrp")
    )
