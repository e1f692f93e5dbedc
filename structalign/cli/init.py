"""`structalign init DIR --tasks N`: set a project up for a folder of your own videos.

The files are copied, not linked: DVC moves what is in data/ to its cache and makes it read-only, and the user's files
must not change. Only files that the captions table names are copied.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from structalign.cli.dvc_add import DATA_DVC, add_data, all_or_nothing, refuse_changed_data, refuse_without_dvc
from structalign.cli.editing import dump_with_comments, load_with_comments
from structalign.console import say, track
from structalign.data.captions import CaptionRow, categories, read_captions
from structalign.data.collection import why_absent
from structalign.data.pretrained import REAL, of_option, of_params, picture_side, refuse_sample_clip
from structalign.data.tasks import TASKS, read_tasks, split_categories, write_tasks
from structalign.errors import UserError
from structalign.params.committed import committed_bytes
from structalign.params.reading import PARAMS, read
from structalign.params.schema import overlay
from structalign.params.section import leaves, written
from structalign.paths import DATA
from structalign.preprocessing import IMAGE_SIZE
from structalign.presets import PRESETS, read_preset
from structalign.store import whole_folder
from structalign.strict_yaml import load_yaml, parse_yaml
from structalign.text import plural

# `dvc add` stores later edits in data/. Without it the last command would stop, since it would lose them.
# `dvc pull` is needed because a clone may never have had the committed data.
BACK = f"dvc add data && git checkout HEAD -- {PARAMS} {TASKS} data.dvc && dvc pull data"
# Without committed data, what `init` brought goes. `-f`, since DVC's links into its cache are read-only.
BACK_TO_NO_DATA = f"dvc add data && git checkout HEAD -- {PARAMS} {TASKS} && rm -rf data data.dvc"
BACK_IN_PLACE = f"git checkout HEAD -- {PARAMS} {TASKS} && rm data.dvc"  # data/ is the user's own folder

app = typer.Typer(add_completion=False)


@app.command()
def init(
    folder: Path = typer.Argument(help="A folder with captions.csv and videos/ (docs/data.md)."),
    tasks: int = typer.Option(help="The number of tasks. Categories are split into tasks in the table's order."),
    backbone: str = typer.Option(
        "", help="A CLIP: its name on the Hugging Face hub, or its folder. Default: unchanged."
    ),
) -> None:
    """Set the project up for a folder of your own videos.

    This fills data/, writes tasks.yaml, sets the backbone and its sizes in params.yaml, and runs `dvc add`.
    """
    rows = read_captions(folder)
    split = split_categories(categories(rows), tasks)
    rows = read_captions(folder, split)
    name = backbone or read("backbone.name", str)
    called = of_option(name) if backbone else of_params(name)
    brought = name == "data/clip"  # the clip/ of the new folder, not the one in data/ now
    if brought and not (folder / "clip").is_dir():
        raise UserError(
            f"{called} is removed when {folder} becomes data/: name another CLIP, for example `--backbone {REAL}`."
        )
    clip = str(folder / "clip") if brought else name
    refuse_sample_clip(clip, rows, called)
    refuse_turned()
    in_place = folder.resolve() == DATA.resolve()
    refuse_without_dvc()
    refuse_uncommitted_tasks()
    if not in_place:
        refuse_changed_data()
    values = {"backbone": {"name": name}, "reference": {"zero_shot": "none", "categories": "none"}}
    fitting, before = sizes_and_rates(clip), dict(leaves(load_yaml(PARAMS)))
    with all_or_nothing(replaces_data=not in_place):
        if not in_place:
            bring(folder, rows)
        write_tasks(split)
        set_params({**values, **fitting})
        add_data(rows)
    counts = plural(len({row.id for row in rows}), "video"), plural(len(rows), "caption"), plural(len(split), "task")
    if fitting:
        say(f"{PARAMS}: these values now fit {name}, which reads larger images:")
        say("\n".join(f"  {key}: {written(before[key])} -> {written(value)}" for key, value in leaves(fitting)))
    say(f"{', '.join(counts)}. Next:")
    say("  structalign data check\n  dvc repro")
    say_way_back(in_place)


def sizes_and_rates(clip: str) -> Mapping[str, Any]:
    """The changes to params.yaml for a CLIP that reads larger images than `frames.size`.

    They are the preset of a real CLIP, with this CLIP's image size. Nothing changes if the frames are large enough.
    """
    side = picture_side(clip, fetch=True)
    if (side or IMAGE_SIZE) <= read("frames.size", int):
        return {}
    if side is None:
        say(f"the configuration of {clip} can't be read: frames.size is set to {IMAGE_SIZE}, which fits most CLIPs.")
    return {**preset_of_a_clip(), "frames": {"size": side or IMAGE_SIZE}}


def preset_of_a_clip() -> Mapping[str, Any]:
    """The values of presets/clip.yaml. Nothing in an older project without this file."""
    return read_preset("clip") if (PRESETS / "clip.yaml").is_file() else {}


def say_way_back(in_place: bool) -> None:
    """Print the command that restores the last commit, if there is one. `in_place`: data/ itself was set up."""
    if committed_bytes(PARAMS) is not None:
        without = BACK_IN_PLACE if in_place else BACK_TO_NO_DATA
        back = without if committed_bytes(DATA_DVC) is None else BACK
        say(f"To undo this and restore the last commit:\n  {back}")


def bring(folder: Path, rows: list[CaptionRow]) -> None:
    """Copy the files of the captions table into data/, all or none. `data.on_broken` rules on missing videos."""
    files = [
        Path("captions.csv"),
        *(Path("videos", name) for name in dict.fromkeys(row.video for row in rows)),
    ]
    files += [path.relative_to(folder) for path in sorted((folder / "clip").glob("*")) if path.is_file()]
    reasons = {file: why_absent(folder, file.as_posix()) for file in files}
    for file, reason in reasons.items():
        if reason and file.parts[0] != "videos":
            raise UserError(f"{folder / file}: {reason}: replace it by the file itself.")
    there = [file for file, reason in reasons.items() if reason is None]
    with whole_folder(DATA) as part:
        copy({part / file: folder / file for file in there})
    if len(there) < len(files):
        lost = plural(len(files) - len(there), "video")
        say(f"{lost} of the captions table can't be read: `structalign data check` lists them.")


def copy(files: Mapping[Path, Path]) -> None:
    """Copy files (target -> source). Raise a `UserError` if the disk has too little space."""
    size, free = sum(file.stat().st_size for file in files.values()), shutil.disk_usage(".").free
    if size > free:
        raise UserError(f"the videos need {size / 1e9:.1f} GB, but only {free / 1e9:.1f} GB are free here: make space.")
    for target, source in track(files.items(), "copying", len(files)):
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def refuse_uncommitted_tasks() -> None:
    """Raise a `UserError` if tasks.yaml has uncommitted rows that a person made.

    Rows that equal an automatic split of the table's categories can be made again, so they may be overwritten.
    """
    if committed_bytes(TASKS) in (None, TASKS.read_bytes()):
        return
    try:
        rows = read_tasks()
        if rows == split_categories(categories(read_captions()), len(rows)):
            return
    except UserError:  # no command writes rows or a table that can't be read
        pass
    raise UserError(
        f"{TASKS} has uncommitted rows, which would be overwritten: commit them, or drop them with "
        f"`git checkout HEAD -- {TASKS}`."
    )


def refuse_turned() -> None:
    """Raise a `UserError` if params.yaml has uncommitted values, which the new project would take over unnoticed."""
    content = committed_bytes(PARAMS)
    if content is None:
        return
    try:
        committed = dict(leaves(parse_yaml(content, f"HEAD:{PARAMS}") or {}))
    except UserError as error:
        raise UserError(f"{str(error)[:-1]} and commit {PARAMS}. The last commit is read as well.") from None
    mine = dict(leaves(preset_of_a_clip()))
    turned = [
        f"{key} {written(committed.get(key))} -> {written(value)}"
        for key, value in leaves(load_yaml(PARAMS))
        if value != committed.get(key)
        and key not in ("backbone.name", "frames.size", "reference.zero_shot", "reference.categories")  # set by init
        and mine.get(key) != value
    ]
    if turned:
        raise UserError(
            f"{PARAMS} has uncommitted values ({', '.join(turned)}): commit them to keep them, "
            f"or drop them with `git checkout {PARAMS}`."
        )


def set_params(values: Mapping[str, Mapping[str, Any]]) -> None:
    """Write values into sections of params.yaml. Comments stay."""
    params = load_with_comments(PARAMS)
    before = dict(leaves(params))
    overlay(params, values)
    if dict(leaves(params)) != before:
        dump_with_comments(params, PARAMS)
