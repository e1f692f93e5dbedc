"""Options that all benchmarks have."""

from pathlib import Path
from typing import Annotated

import typer

REPEATS = Annotated[int, typer.Option(min=1, help="times that each side is measured; the median counts")]
TINY = Annotated[bool, typer.Option("--tiny", help="a tiny CLIP, to try the command")]
OUT = Annotated[Path, typer.Option(help="folder of the JSON file")]
