"""`structalign.open_index(path)`."""

from pathlib import Path

from structalign.data.tasks import TASKS
from structalign.errors import UserError
from structalign.library.folder_index import FolderIndex
from structalign.library.project_index import ProjectIndex
from structalign.library.store import exists
from structalign.library.video_index import VideoIndex


def open_index(path: str | Path, after: str | None = None, split: str | None = None) -> VideoIndex:
    """Open the index in the folder `path`: of raw folders, as `structalign index` prints it, or a project.

    after: a project as it was after this task. split: train, val or test clips of a project alone; `test` is
    evaluation's gallery. Every file of the index is checked against its hash. Raises `UserError` where there is no
    index, a damaged one, or one that has no tasks or splits.
    """
    folder = Path(path)
    if exists(folder):
        if after is not None or split is not None:
            raise UserError(f"{path} is an index of folders: it has no tasks and no splits.")
        return FolderIndex(folder)
    if (folder / TASKS).exists():
        return ProjectIndex(folder, after, split)
    raise UserError(
        f"{path} is neither an index nor a project: `structalign index DIR --backbone NAME` makes an index and prints "
        "its place."
    )
