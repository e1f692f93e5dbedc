"""`structalign.open_index(path)`."""

from pathlib import Path

from structalign.data.tasks import TASKS
from structalign.errors import UserError
from structalign.library.folder_index import FolderIndex
from structalign.library.project_index import ProjectIndex
from structalign.library.store import exists
from structalign.library.video_index import VideoIndex


def open_index(path: str | Path, after: str | None = None, split: str | None = None) -> VideoIndex:
    """Open the folder `path`, which is an index of `structalign index`, or a project.

    after: search a project as after this task. split: only search train, val or test clips of a project. `test` is the
    gallery of the evaluation. All files of the index are verified by hash. Raises `UserError` if there is no index, if
    it is damaged, or if it has no tasks or splits.
    """
    folder = Path(path)
    if exists(folder):
        if after is not None or split is not None:
            raise UserError(
                f"{path} is an index of folders, which has no tasks and no splits: leave --after and --split out."
            )
        return FolderIndex(folder)
    refuse_other(folder)
    return ProjectIndex(folder, after, split)


def refuse_other(folder: Path) -> None:
    """Raise a `UserError` if a folder is neither an index nor a project."""
    if not exists(folder) and not (folder / TASKS).exists():
        raise UserError(
            f"{folder} is neither an index nor a project: make an index with `structalign index DIR --backbone NAME`, "
            "which prints its path, or a project with `structalign new DIR`."
        )
