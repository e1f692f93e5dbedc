"""`structalign init DIR --tasks N`: from a folder of own videos to a project that `dvc repro` can run.

The folder is copied, not linked: DVC takes over what lies in data/ (into its cache, read-only), and one's own
files must stay as they are. Only what the captions table names is copied.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import typer
from ruamel.yaml import YAML

from structalign.console import track
from structalign.data.datasets import Row, categories, read_captions
from structalign.data.manifest import DATA
from structalign.data.pretrained import refuse_sample_clip
from structalign.data.tasks import TASKS, deal, write_tasks
from structalign.errors import UserError
from structalign.params import PARAMS, read
from structalign.store import whole, whole_folder

NULL = "tag:yaml.org,2002:null"  # written out: ruamel would leave the value empty
BACK = f"git checkout HEAD -- {PARAMS} {TASKS} data.dvc && dvc checkout data"

app = typer.Typer(add_completion=False)


@app.command()
def init(
    folder: Path = typer.Argument(help="A folder with captions.csv and videos/ (docs/data.md)."),
    tasks: int = typer.Option(help="Into how many tasks its categories are dealt, in the table's order."),
    backbone: str = typer.Option("", help="A CLIP's name on the hub, or its folder; as it is if not given."),
) -> None:
    """Point the project at a folder of your own videos: data/, tasks.yaml, backbone.name, `dvc add`."""
    rows = read_captions(folder)
    dealt = deal(categories(rows), tasks)
    rows = read_captions(folder, dealt)
    name = backbone or read("backbone.name", str)
    brought = name == "data/clip"  # the folder's own clip/, not the one that lies in data/ now
    if brought and not (folder / "clip").is_dir():
        raise UserError(
            f"backbone.name = {name} goes when {folder} becomes data/: "
            "name a CLIP, as `--backbone openai/clip-vit-base-patch32`."
        )
    refuse_sample_clip(str(folder / "clip") if brought else name, rows)
    if folder.resolve() != DATA.resolve():
        refuse_unsaved()
        bring(folder, rows)
    write_tasks(dealt)
    set_backbone(name)
    dvc_add()
    typer.echo(f"{len({row.id for row in rows})} videos, {len(rows)} captions, {len(dealt)} tasks: next")
    typer.echo("  structalign data check\n  dvc repro\nand back to what was committed:\n  " + BACK)


def bring(folder: Path, rows: list[Row]) -> None:
    """Copy what the table names into data/, whole; a video that isn't there is left to `data.on_broken`."""
    files = [
        Path("captions.csv"),
        *(Path("videos", name) for name in dict.fromkeys(row.video for row in rows)),
    ]
    files += [path.relative_to(folder) for path in sorted((folder / "clip").glob("*")) if path.is_file()]
    there = [file for file in files if (folder / file).is_file()]
    size, free = sum((folder / file).stat().st_size for file in there), shutil.disk_usage(".").free
    if size > free:
        raise UserError(f"{folder} has {size / 1e9:.1f} GB, and only {free / 1e9:.1f} GB are free here: make room.")
    with whole_folder(DATA) as part:
        for file in track(there, "copying"):
            (part / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / file, part / file)
    if len(there) < len(files):
        typer.echo(f"{len(files) - len(there)} videos of the table are missing: `structalign data check` lists them.")


def refuse_unsaved() -> None:
    """`UserError` if data/ holds something that DVC couldn't bring back."""
    if not DATA.exists():
        return
    if not Path("data.dvc").is_file() or _dvc("status", "--quiet", "data.dvc").returncode:
        raise UserError(f"{DATA}/ has changes that DVC doesn't keep: `dvc add data` keeps them, then run again.")


def set_backbone(name: str) -> None:
    """Write backbone.name into params.yaml; its comments stay."""
    yaml = YAML()
    yaml.width = 4096
    yaml.representer.add_representer(type(None), lambda dumper, _: dumper.represent_scalar(NULL, "null"))
    params = yaml.load(PARAMS)
    if params["backbone"]["name"] != name:
        params["backbone"]["name"] = name
        with whole(PARAMS) as part:
            yaml.dump(params, part)


def dvc_add() -> None:
    """`dvc add data`; `UserError` with DVC's last line if it fails."""
    done = _dvc("add", "--quiet", str(DATA))
    if done.returncode:
        reason = (done.stderr.strip() or done.stdout.strip() or "no reason given").splitlines()[0]
        raise UserError(f"`dvc add {DATA}` failed ({reason}): mend that and run it again.")


def _dvc(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-m", "dvc", *arguments], capture_output=True, text=True, check=False)
