"""Which file formats are opened: those that contain their pictures.

A playlist, a manifest or an image pattern names other files, and decoding it could show any video of the machine. The
file is passed as an open descriptor, so even an allowed format cannot reach other files.
"""

import os
import re
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from structalign.data.decoding.broken import BrokenVideo
from structalign.errors import UserError

# ffmpeg's names of the demuxers that read only one file
VIDEOS = (
    "mov,mp4,matroska,webm,avi,flv,asf,mpegts,mpeg,mpegvideo,m4v,h261,h263,h264,hevc,vvc,av1,obu,ivf,vc1,vc1test,"
    "cavsvideo,avs2,avs3,dirac,evc,ogg,mxf,gxf,nut,dv,rm,wtv,nsv,nuv,swf,flic,yuv4mpegpipe,mjpeg,mjpeg_2000,gif,apng,"
    "webp_anim,jpegxl_anim"
)
PICTURES = (
    "bmp_pipe,dds_pipe,dpx_pipe,exr_pipe,gif_pipe,hdr_pipe,j2k_pipe,jpeg_pipe,jpegls_pipe,jpegxl_pipe,pam_pipe,"
    "pbm_pipe,pcx_pipe,pfm_pipe,pgm_pipe,png_pipe,ppm_pipe,qoi_pipe,sgi_pipe,tiff_pipe,webp_pipe"
)
SOUNDS = "wav,mp3,flac,aac,ac3,aiff,amr,au,caf,w64"  # allowed, so that the error says that there is no video stream
ADMITTED = f"{VIDEOS},{PICTURES},{SOUNDS}"

# The first bytes of formats that are refused
KINDS = (
    (b"#extm3u", "an HLS playlist"),
    (b"<mpd", "a DASH manifest"),
    (b"ffconcat", "a list for ffmpeg's concat"),
    (b"v=0", "an SDP description"),
    (b"[playlist]", "a playlist"),
    (b"[reference]", "a playlist"),
    (b"<asx", "a playlist"),
    (b"<smil", "a playlist"),
    (b"<playlist", "a playlist"),
    (b"<smoothstreamingmedia", "a Smooth Streaming manifest"),
    (b"<assetmap", "an IMF package"),
    (b"<compositionplaylist", "an IMF package"),
    (b"<svg", "a drawing (SVG)"),
)
SNIFFED = 4096  # bytes
TEXT = re.compile(rb"(?:\xef\xbb\xbf)?[\t\r\n\f -~\x80-\xff]+")  # without control characters


def require_posix() -> None:
    """`UserError` on Windows, where ffmpeg cannot inherit an open file."""
    if sys.platform == "win32":
        raise UserError("structalign cannot decode videos on Windows: run it in WSL, the Windows Subsystem for Linux.")


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """An open descriptor of the file. Raises BrokenVideo unless the file is readable, regular and not empty."""
    require_posix()
    try:
        source = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        raise BrokenVideo("the file does not exist") from None
    except (OSError, ValueError) as error:
        raise BrokenVideo(f"it can't be opened ({getattr(error, 'strerror', None) or error})") from None
    try:
        about = os.fstat(source)
        if not stat.S_ISREG(about.st_mode):
            raise BrokenVideo("it is not a regular file")
        if about.st_size == 0:
            raise BrokenVideo("the file is empty")
        yield source
    finally:
        os.close(source)


def kind_of(source: int) -> str | None:
    """Why a text file is refused, which includes formats that name other files. None if it is no text."""
    head = os.pread(source, SNIFFED, 0)
    lowered = head.lower().replace(b"\0", b"")  # this also finds texts in UTF-16
    text = lowered.lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n")
    kind = next((kind for mark, kind in KINDS if text.startswith(mark) or (mark[:1] == b"<" and mark in text)), None)
    if kind:
        return f"it is {kind}, which only names other files"
    return "it is a text file, which has no pictures" if TEXT.fullmatch(head) else None
