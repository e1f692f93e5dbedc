"""`structalign import msrvtt | activitynet`: set a project up from a benchmark's files.

Videos are copied, as in `init`. With --link they are hard-linked instead, which saves one copy: `dvc add` then copies
them into its cache and links data/ to that copy. The user's files never change.
"""

import os
from pathlib import Path
from typing import Annotated

import typer

from structalign.cli.dvc_add import add_data, all_or_nothing, refuse_changed_data, refuse_without_dvc
from structalign.cli.init import copy, refuse_uncommitted_tasks, say_way_back
from structalign.console import say
from structalign.data.captions import write_captions
from structalign.data.importers.activitynet import activitynet as read_activitynet
from structalign.data.importers.ctvr import Benchmark
from structalign.data.importers.msrvtt import msrvtt as read_msrvtt
from structalign.data.tasks import category_ids, write_tasks
from structalign.errors import UserError
from structalign.paths import DATA
from structalign.presets import PRESETS
from structalign.store import whole_folder
from structalign.text import plural

SHOWN = 10  # videos with an odd segment that are listed

app = typer.Typer(no_args_is_help=True, add_completion=False)

Splits = Annotated[Path, typer.Option(help="The CTVR split file of this setting (a pickle file).")]
Videos = Annotated[
    Path, typer.Option(help="The folder of the videos. A file is named by its video's id. Subfolders are searched.")
]
Link = Annotated[
    bool, typer.Option("--link", help="Make hard links instead of copies, which takes half the disk space.")
]


@app.callback()
def import_() -> None:
    """Set the project up for MSR-VTT or ActivityNet: fill data/, write tasks.yaml and run `dvc add`."""


@app.command()
def msrvtt(
    splits: Splits,
    videos: Videos,
    annotations: Annotated[Path, typer.Option(help="train_val_videodatainfo.json.")],
    test_captions: Annotated[Path, typer.Option(help="MSRVTT_CL_validation.csv: one caption per test video.")],
    link: Link = False,
) -> None:
    """MSRVTT-10 and -20: 320 training videos, 2,990 test videos."""
    adopt(read_msrvtt(splits, videos, annotations, test_captions), "msrvtt", link)


@app.command()
def activitynet(
    splits: Splits,
    videos: Videos,
    train_captions: Annotated[Path, typer.Option(help="Captions of the training videos: train.json.")],
    test_captions: Annotated[Path, typer.Option(help="Captions of the test videos: val_1.json.")],
    link: Link = False,
) -> None:
    """ACTNET-10 and -20: 3,200 training videos, 4,910 test videos."""
    adopt(read_activitynet(splits, videos, train_captions, test_captions), "actnet", link)


def adopt(benchmark: Benchmark, preset: str | None, link: bool) -> None:
    """Make data/ and tasks.yaml of a benchmark. Print counts, missing videos and the next commands.

    preset: the preset of this setting, with or without its number of tasks. None if no result is published.
    """
    refuse_without_dvc()
    refuse_uncommitted_tasks()
    refuse_changed_data()
    with all_or_nothing(replaces_data=True):
        with whole_folder(DATA) as part:
            write_captions(part, benchmark.rows)
            files = {part / "videos" / name: source for name, source in benchmark.files.items()}
            if link:
                hard_link(files)
            else:
                copy(files)
        write_tasks(benchmark.tasks)
        add_data(benchmark.rows)
    say(summary(benchmark))
    steps = ["structalign data check", "dvc repro"]
    if preset is not None:
        setting = f"{preset}-{len(benchmark.tasks)}"
        name = setting if (PRESETS / f"{setting}.yaml").is_file() else preset
        steps.insert(0, f"structalign preset {name}")
    say("\n  ".join(["Next:", *steps]))
    say_way_back(in_place=False)


def summary(benchmark: Benchmark) -> str:
    """The counts of the captions table, then the missing videos by task."""
    trained, tested = (len(benchmark.names(split)) for split in ("train", "test"))
    counts = (
        plural(trained, "training video"),
        plural(tested, "test video"),
        plural(len(benchmark.rows), "caption"),
        plural(len(category_ids(benchmark.tasks)), "category", "categories"),
        plural(len(benchmark.tasks), "task"),
    )
    text = ", ".join(counts)
    text += "".join(f"\n{name}: {odd}" for name, odd in list(benchmark.odd.items())[:SHOWN])
    if len(benchmark.odd) > SHOWN:
        text += f"\nand {plural(len(benchmark.odd) - SHOWN, 'more video')} with such a segment"
    lost = benchmark.missing()
    if lost:
        by_task = ", ".join(f"{task} {number}" for task, number in lost.items())
        text += f"\nmissing videos: {sum(lost.values()):,} ({by_task}). The results will be marked partial."
    return text


def hard_link(files: dict[Path, Path]) -> None:
    """Hard-link files (target -> source). Raise a `UserError` if the file system can't."""
    for target, source in files.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source.resolve(), target)
        except OSError as error:
            raise UserError(
                f"{source} can't be hard-linked into {DATA}/ ({error.strerror}): leave --link out."
            ) from None
