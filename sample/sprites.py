"""Draws emoji with Debian's Noto Color Emoji and reads their names from Debian's Unicode data."""

import re
from functools import lru_cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

FONT = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
NAMES = Path("/usr/share/unicode/emoji/emoji-test.txt")
STRIKE = 109  # the only size of the font's bitmaps
SIZE = 128

_LINE = re.compile(r"[0-9A-F ]+?\s*; fully-qualified\s*# (\S+) E[\d.]+ (.*)")
_LEFT_OUT = re.compile(r"skin tone|family|couple|kiss|^(?:wo)?m[ae]n\b(?!’s)")


def available() -> bool:
    """Whether the Debian packages fonts-noto-color-emoji and unicode-data are installed."""
    return FONT.exists() and NAMES.exists()


@lru_cache(maxsize=1)
def _font() -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(FONT), STRIKE)


@lru_cache(maxsize=4096)
def sprite(emoji: str, size: int = SIZE) -> Image.Image:
    """Draw an emoji, cropped to its visible pixels and centred in a transparent square of ``size`` pixels."""
    canvas = Image.new("RGBA", (4 * STRIKE, 2 * STRIKE))
    ImageDraw.Draw(canvas).text((STRIKE, STRIKE // 2), emoji, font=_font(), embedded_color=True)
    ink = canvas.getbbox()
    if ink is None:
        raise ValueError(f"The font draws nothing for {emoji!r}.")
    drawn = canvas.crop(ink)
    side = max(drawn.size)
    square = Image.new("RGBA", (side, side))
    square.paste(drawn, ((side - drawn.width) // 2, (side - drawn.height) // 2))
    return square.resize((size, size), Image.Resampling.LANCZOS)


def drawable(emoji: str) -> bool:
    """Whether the font draws ``emoji`` as one picture, not as several or as a blank."""
    try:
        width = _font().getlength(emoji)
    except OSError:
        return False
    return 0 < width < 1.6 * STRIKE


def emoji_names() -> dict[str, str]:
    """Unicode's names of the emoji without flags, symbols, skin tones and human variants."""
    names: dict[str, str] = {}
    wanted = False
    for line in NAMES.read_text(encoding="utf-8").splitlines():
        if line.startswith("# group:"):
            group = line.split(":", 1)[1].strip()
            wanted = group not in {"Flags", "Symbols"}
        elif wanted and (entry := _LINE.match(line)) and not _LEFT_OUT.search(entry[2]):
            names[entry[1]] = entry[2]
    return names
