"""`structalign serve`: find and watch the videos in a browser."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from structalign.collector import paused
from structalign.console import say
from structalign.errors import UserError
from structalign.paths import PORT

GIB = 2**30

app = typer.Typer(add_completion=False)


@app.command()
def serve(
    index: Annotated[Path | None, typer.Option(help="An index that `structalign index` made.")] = None,
    videos: Annotated[
        list[Path] | None, typer.Option(help="A folder of videos: index it, and search it while it fills.")
    ] = None,
    backbone: Annotated[str | None, typer.Option(help="With --videos: a CLIP, its folder or name on the hub.")] = None,
    project: Annotated[Path, typer.Option(help="A project's folder; this one if not given.")] = Path(),
    after: Annotated[str | None, typer.Option(help="Search as after this task; the last one if not given.")] = None,
    host: Annotated[str, typer.Option(help="The address to listen on; another than this machine's needs a token.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes a free one.")] = PORT,
    allow_name: Annotated[
        list[str] | None, typer.Option(help="A name that requests may be made to, as of a proxy before it.")
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(envvar="STRUCTALIGN_TOKEN", help="What a client must show; `ps` shows an option, no variable."),
    ] = None,
    cache_size: Annotated[float, typer.Option(min=0.01, help="GiB of posters and playable copies to keep.")] = 2.0,
) -> None:
    """Search and watch in a browser: one page and an HTTP API. It reads only, and stops by Ctrl-C."""
    if videos and (index is not None or project != Path()):
        raise UserError("--videos makes an index of its own: leave --index and --project out.")
    if index is not None and project != Path():
        raise UserError("--index needs no --project: an index knows what it was made by.")
    if bool(videos) != (backbone is not None):
        raise UserError("--videos and --backbone go together: a CLIP reads the videos of the folders.")
    try:
        with paused():
            from structalign.serve.server import check
            from structalign.serve.server import serve as run
    except ModuleNotFoundError as error:
        if error.name not in ("fastapi", "starlette", "uvicorn"):
            raise
        raise UserError(f"{error.name} is not installed: `pip install 'structalign[serve]'` brings it.") from None
    from platformdirs import user_cache_path

    from structalign.serve.collection import opened

    check(host, token, allow_name or ())
    path, indexing = index or project, None
    if videos and backbone is not None:
        from structalign.library.folder_index import begin

        path = begin(videos, backbone)
        code = "from structalign.cli.app import main; main()"
        command = [sys.executable, "-c", code, "index", *map(str, videos), "--backbone", backbone]
        indexing = subprocess.Popen([*command, "--index", str(path)], stdin=subprocess.DEVNULL)

    def ready(address: str) -> None:
        say(f"open {address} in a browser; Ctrl-C stops.")

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    try:
        cache = user_cache_path("structalign") / "media"
        run(opened(path, after), cache, round(cache_size * GIB), host, port, allow_name or (), token, ready)
    finally:
        if indexing is not None:
            indexing.send_signal(signal.SIGINT)  # it ends what it has started
            indexing.wait()
