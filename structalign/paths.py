"""The pipeline's paths: one folder or file per stage and task, relative to the project's root."""

from pathlib import Path

DATA = Path("data")
ADDED = Path("added")  # outside the folders that DVC makes
CHECKPOINTS = Path("checkpoints")
REPORTS = Path("reports")
WORK = Path("work")

PORT = 8000
SEARCH_PAGE = f"http://127.0.0.1:{PORT}/"  # default address of `structalign serve`

BACKBONE = WORK / "backbone"
CODE = WORK / "code"
COLLECTION = WORK / "collection"
FEATURES = WORK / "features"
FRAMES = WORK / "frames"
GALLERIES = WORK / "gallery"
GEOMETRY = WORK / "geometry"
INDEXES = WORK / "index"
LOGS = WORK / "logs"
LOSSES = WORK / "losses"
MANIFEST = WORK / "manifest"
QUARANTINE = WORK / "quarantine"
SCORES = WORK / "scores"
THUMBNAILS = WORK / "thumbs"


def index_of(task: str) -> Path:
    """The index of the galleries up to a task."""
    return INDEXES / f"{task}.json"
