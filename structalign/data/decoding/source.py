"""An open video file: its header, decoding passes over it, and their time limit."""

import os
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from structalign.data.decoding import child, command, damage, formats
from structalign.data.decoding.broken import BrokenVideo
from structalign.data.decoding.ending import refuse_incomplete
from structalign.data.decoding.header import Header, parse
from structalign.data.decoding.pipes import Image, PassedOn, Pictures, Times
from structalign.data.decoding.seen import Seen
from structalign.data.decoding.selection import BUFFER, Selection, Steady

DAY = 86400.0  # seconds; the longest time limit
MINUTE = 60.0  # seconds of video to which a time limit applies
DENSE = 125_000  # bytes per second of a usual video
SPARSE = 2_000  # the fewest bytes per second for which a declared length is believed
SMALL = MINUTE * SPARSE  # bytes; smaller files get the plain limit, whatever they declare
PICTURE_STREAMS = (".mjpeg", ".mjpg")  # files in which a sequence of pictures is a video
UNREAD = Header(format="", track="V:0")  # the first track that is no cover, in standard colours
TILE = re.compile(r"^\[info\]   Stream #0:\d+ \(.*\) -> ", re.M)  # a stream that is part of the picture
PATIENCE = 10.0  # seconds for ffmpeg to print its version
SAID = 120  # characters of ffmpeg's message that an error quotes

_answered: set[str] = set()  # the programs whose version this process knows


def require_ffmpeg(limit: float = PATIENCE) -> None:
    """Raise a `UserError` if ffmpeg is missing or too old, once instead of for every video.

    If ffmpeg does not answer within `limit` seconds, the time limit of the first video decides.
    """
    formats.require_posix()
    program = command.program()
    if program not in _answered:
        ended = child.run(command.version(), time.monotonic() + min(limit, PATIENCE), {}, output=True)
        command.refuse_old(ended.log)
        if not ended.late:
            _answered.add(program)


class Source:
    """A file that is open at the descriptor `file`, decoded up to `end` (seconds, None: to its end).

    All work on it must finish within `timeout` seconds per minute that it may plausibly last.
    """

    def __init__(self, path: Path, file: int, end: float | None, timeout: float) -> None:
        self.end = end
        self._path, self._file = path, file
        self._begin, self._timeout = time.monotonic(), timeout
        self._limit = min(timeout, DAY)
        self._header: Header | None = None
        require_ffmpeg(self._limit)

    @property
    def header(self) -> Header:
        """The file's header. Raises BrokenVideo if ffmpeg can't open the file, or can't show it correctly."""
        if self._header is None:
            ended = self._run(command.opening(self._file), {})
            command.refuse_unfit(ended.log)
            self._header = self._parse(ended.log)
            if self._header is None:
                raise BrokenVideo(formats.kind_of(self._file) or self._reason(ended.log))
            length, size = self._header.length, os.fstat(self._file).st_size
            plausible = size / DENSE if length is None else min(length, size / SPARSE)
            self._limit = min(self._timeout * max(1.0, plausible / MINUTE), DAY)
        return self._header

    def glance(self, sizes: Sequence[int]) -> Seen | None:
        """Decode all pictures of a small file in `sizes` before reading its header, which would take as long.

        Returns None if the file is not small, or differs from what the pass assumed.
        """
        if os.fstat(self._file).st_size > SMALL:
            return None
        seen = self._decode(UNREAD, sizes, None, BUFFER)
        self._header = self._parse(seen.log if isinstance(seen, Seen) else seen)
        return seen if isinstance(seen, Seen) and self._header and self._header.plain else None

    def read(self, sizes: Sequence[int], selection: Selection | None, limit: float = BUFFER) -> Seen:
        """Decode all frames' times, and the pictures of a selection (None: all) if they fit into `limit` bytes."""
        if selection is not None and not selection.spans:
            sizes, selection = [], None
        seen = self._decode(self.header, sizes, selection, limit)
        if not isinstance(seen, Seen):
            raise BrokenVideo(self._reason(seen))
        return seen

    def stream(self, size: int, take: Callable[[Image], object]) -> tuple[Seen, list[float]]:
        """Decode, and pass on the first picture of every second as it arrives. Returns also their times in seconds."""
        selected, pictures = Times(), PassedOn(take)
        seen = self._pass(self.header, [size], [pictures], Steady(), selected)
        if not isinstance(seen, Seen):
            raise BrokenVideo(self._reason(seen))
        assert selected.base is not None
        return seen, [float(begin * selected.base) for begin in selected.begins]

    def damage(self, seen: Seen) -> str | None:
        """The signs that the file is damaged: errors, or a length that differs from the declared one."""
        header, signs = self.header, []
        if found := damage.errors(seen.log, header):
            signs.append(f"the decoder reports errors ({self._said(found[0])})")
        end, before = float(seen.end), float(seen.begins[max(len(seen.begins) - 2, 0)])
        wrong = damage.wrong_length(header, end + float(seen.spacing), before, self.end)
        if wrong and header.others and not header.of_track:
            end_of_others = self._end_of_others(header)
            wrong = damage.wrong_length(header, max(end + float(seen.spacing), end_of_others), before, self.end)
        if wrong:
            signs.append(f"its header declares {header.length:.1f} s, but {end:.1f} s can be decoded")
        return "; ".join(signs) or None

    def _decode(self, header: Header, sizes: Sequence[int], selection: Selection | None, limit: float) -> Seen | str:
        """One pass that keeps its pictures. Returns ffmpeg's log if there was no frame."""
        selected = Times() if sizes and selection is not None else None
        return self._pass(header, sizes, [Pictures(limit) for _ in sizes], selection, selected)

    def _pass(
        self,
        header: Header,
        sizes: Sequence[int],
        pictures: Sequence[Pictures],
        selection: Selection | Steady | None,
        selected: Times | None,
    ) -> Seen | str:
        """One pass. `selected` takes the times of the pictures. Returns ffmpeg's log if there was no frame."""
        times = Times()
        takers: list[child.Sink] = [times, *pictures, *([selected] if selected else [])]
        pipes = [os.pipe() for _ in takers]
        writers = [writer for _, writer in pipes]
        line = command.decoding(
            self._file,
            header,
            writers[0],
            self.end,
            list(zip(sizes, writers[1:], strict=False)),
            (selection, writers[-1]) if selection and selected else None,
        )
        ended = self._run(line, {pipe[0]: (pipe[1], taker) for pipe, taker in zip(pipes, takers, strict=True)})
        command.refuse_unfit(ended.log)
        if not times.begins:
            return ended.log
        if header.tiled and len(TILE.findall(ended.log)) < 2:
            raise BrokenVideo("it is made of tiles, which this ffmpeg can't join: update imageio-ffmpeg")
        kept = None if isinstance(selection, Steady) else selected
        return Seen(times, kept, [stream.images for stream in pictures] or [None], ended.log, header.lengths)

    def _end_of_others(self, header: Header) -> float:
        """The end of the last packet of all other tracks, in seconds."""
        reader, writer = os.pipe()
        times = Times()
        self._run(command.packets(self._file, header, writer), {reader: (writer, times)})
        return times.end

    def _run(self, line: list[str], sinks: dict[int, tuple[int, child.Sink]]) -> child.Ended:
        os.lseek(self._file, 0, os.SEEK_SET)
        ended = child.run(line, self._begin + self._limit, sinks, [self._file])
        if ended.late:
            raise BrokenVideo(f"decoding took longer than {self._limit:g} s (`data.timeout`)")
        if ended.left:
            raise BrokenVideo("ffmpeg ended before its child processes: correct STRUCTALIGN_FFMPEG")
        refuse_incomplete(ended, self._path)
        return ended

    def _parse(self, log: str) -> Header | None:
        return parse(log, stream=self._path.suffix.lower() in PICTURE_STREAMS)

    def _reason(self, log: str) -> str:
        """Why nothing was decoded, in one clause without the file's path on this machine."""
        if "not on whitelist" in log:
            return "its format is not supported"
        if "Impossible to convert between the formats" in log:
            return "ffmpeg cannot convert its colour format"
        found = damage.complaints(log, all_tracks=True)
        return f"no frame can be decoded ({self._said(found[0])})" if found else "no frame can be decoded"

    def _said(self, text: str) -> str:
        """A message of ffmpeg as part of a sentence."""
        return "".join(letter if letter.isprintable() else " " for letter in text).strip().rstrip(".")[:SAID]
