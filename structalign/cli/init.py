"""`structalign init DIR --tasks N`: from a folder of own videos to a project that `dvc repro` can run.

The folder is copied, not linked: DVC takes over what lies in data/ (into its cache, read-only), and one's own
files must stay as they are. Only what the captions table names is copied.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from structalign.cli.dvc_add import add_data, all_or_nothing, refuse_changed_data, refuse_without_dvc
from structalign.cli.editing import dump_with_comments, load_with_comments
from structalign.console import say, track
from structalign.data.captions import CaptionRow, categories, read_captions
from structalign.data.collection import why_absent
from structalign.data.pretrained import picture_side, refuse_sample_clip
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

# `dvc add` keeps what was edited in data/ since, else the last command stops half-way where something would be lost;
# `dvc pull`, since a clone may never have had what was committed
BACK = f"dvc add data && git checkout HEAD -- {PARAMS} {TASKS} data.dvc && dvc pull data"

app = typer.Typer(add_completion=False)


@app.command()
def init(
    folder: Path = typer.Argument(help="A folder with captions.csv and videos/ (docs/data.md)."),
    tasks: int = typer.Option(help="Into how many tasks its categories are split, in the table's order."),
    backbone: str = typer.Option("", help="A CLIP's name on the hub, or its folder; as it is if not given."),
) -> None:
    """Point the project at a folder of your own videos: data/, tasks.yaml, backbone.name, sizes, `dvc add`."""
    rows = read_captions(folder)
    split = split_categories(categories(rows), tasks)
    rows = read_captions(folder, split)
    name = backbone or read("backbone.name", str)
    brought = name == "data/clip"  # the folder's own clip/, not the one that lies in data/ now
    if brought and not (folder / "clip").is_dir():
        raise UserError(
            f"backbone.name = {name} goes when {folder} becomes data/: "
            "name a CLIP, as `--backbone openai/clip-vit-base-patch32`."
        )
    clip = str(folder / "clip") if brought else name
    refuse_sample_clip(clip, rows)
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
        say(f"{PARAMS} had sizes and rates for smaller pictures than {name} reads:")
        say("\n".join(f"  {key}: {written(before[key])} -> {written(value)}" for key, value in leaves(fitting)))
    say(f"{', '.join(counts)}: next")
    say("  structalign data check\n  dvc repro")
    say_way_back()


def sizes_and_rates(clip: str) -> Mapping[str, Any]:
    """What params.yaml needs for a CLIP that reads larger pictures than its frames: the preset of a real CLIP, with
    this one's size; nothing where the frames do."""
    side = picture_side(clip, fetch=True)
    if (side or IMAGE_SIZE) <= read("frames.size", int):
        return {}
    if side is None:
        say(f"the configuration of {clip} can't be reached: frames get {IMAGE_SIZE} pixels, as most CLIPs read.")
    return {**preset_of_a_clip(), "frames": {"size": side or IMAGE_SIZE}}


def preset_of_a_clip() -> Mapping[str, Any]:
    """The sizes and rates of presets/clip.yaml; none in a project of before that has no such file."""
    return read_preset("clip") if (PRESETS / "clip.yaml").is_file() else {}


def say_way_back() -> None:
    """Print how to go back to the last commit, if there is one."""
    if committed_bytes(PARAMS) is not None:
        say(f"and back to what was committed:\n  {BACK}")


def bring(folder: Path, rows: list[CaptionRow]) -> None:
    """Copy what the table names into data/, whole; a video that isn't there is left to `data.on_broken`."""
    files = [
        Path("captions.csv"),
        *(Path("videos", name) for name in dict.fromkeys(row.video for row in rows)),
    ]
    files += [path.relative_to(folder) for path in sorted((folder / "clip").glob("*")) if path.is_file()]
    reasons = {file: why_absent(folder, file.as_posix()) for file in files}
    for file, reason in reasons.items():
        if reason and file.parts[0] != "videos":
            raise UserError(f"{folder / file}: {reason}: put the file itself there.")
    there = [file for file, reason in reasons.items() if reason is None]
    with whole_folder(DATA) as part:
        copy({part / file: folder / file for file in there})
    if len(there) < len(files):
        lost = plural(len(files) - len(there), "video")
        say(f"the table names {lost} that cannot be read: `structalign data check` lists them.")


def copy(files: Mapping[Path, Path]) -> None:
    """Copy files, target -> source; `UserError` if there is too little room."""
    size, free = sum(file.stat().st_size for file in files.values()), shutil.disk_usage(".").free
    if size > free:
        raise UserError(f"the videos have {size / 1e9:.1f} GB, and only {free / 1e9:.1f} GB are free here: make room.")
    for target, source in track(files.items(), "copying", len(files)):
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def refuse_uncommitted_tasks() -> None:
    """`UserError` if tasks.yaml has rows that are not committed, and that dealing the table's categories in data/ into
    as many tasks would not give: someone's choice of order or size, or an appended task."""
    if committed_bytes(TASKS) in (None, TASKS.read_bytes()):
        return
    try:
        rows = read_tasks()
        if rows == split_categories(categories(read_captions()), len(rows)):
            return
    except UserError:  # rows or a table that can't be read were not made by a command
        pass
    raise UserError(
        f"{TASKS} has rows that are not committed, which would be overwritten: commit them, or drop them with "
        f"`git checkout HEAD -- {TASKS}`."
    )


def refuse_turned() -> None:
    """`UserError` if params.yaml has numbers that are not committed: the new project would start from them unawares."""
    content = committed_bytes(PARAMS)
    if content is None:
        return
    try:
        committed = dict(leaves(parse_yaml(content, f"HEAD:{PARAMS}") or {}))
    except UserError as error:
        raise UserError(f"{str(error)[:-1]} and commit {PARAMS}: the last commit is read, too.") from None
    mine = dict(leaves(preset_of_a_clip()))
    turned = [
        f"{key} {written(committed.get(key))} -> {written(value)}"
        for key, value in leaves(load_yaml(PARAMS))
        if value != committed.get(key)
        and key not in ("backbone.name", "frames.size", "reference.zero_shot", "reference.categories")  # init's own
        and mine.get(key) != value
    ]
    if turned:
        raise UserError(
            f"{PARAMS} has values that are not committed ({', '.join(turned)}): commit them to start from them, "
            f"or drop them with `git checkout {PARAMS}`."
        )


def set_params(values: Mapping[str, Mapping[str, Any]]) -> None:
    """Write values into sections of params.yaml; its comments stay."""
    params = load_with_comments(PARAMS)
    before = dict(leaves(params))
    overlay(params, values)
    if dict(leaves(params)) != before:
        dump_with_comments(params, PARAMS)
