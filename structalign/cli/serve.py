"""`structalign serve`: search and watch videos in a browser."""

import os
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
        list[Path] | None, typer.Option(help="A folder of videos to index. You can search while the index fills.")
    ] = None,
    backbone: Annotated[str | None, typer.Option(help="With --videos: a CLIP, by folder or hub name.")] = None,
    project: Annotated[Path, typer.Option(help="The project's folder. Default: the current folder.")] = Path(),
    after: Annotated[
        str | None, typer.Option(help="Use the model and gallery of this task. Default: the last.")
    ] = None,
    host: Annotated[str, typer.Option(help="The address to listen on. Others than this machine's need a token.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port. 0 chooses a free one.")] = PORT,
    allow_name: Annotated[
        list[str] | None, typer.Option(help="A further host name that requests may use, for example a proxy's.")
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="STRUCTALIGN_TOKEN", help="The token that clients must send. `ps` shows it if it is an option."
        ),
    ] = None,
    cache_size: Annotated[float, typer.Option(min=0.01, help="GiB of posters and playable copies to cache.")] = 2.0,
) -> None:
    """Search and watch videos in a browser: a page and an HTTP API. It is read-only. Ctrl-C stops it."""
    if videos and (index is not None or project != Path()):
        raise UserError("--videos makes a new index: leave --index and --project out.")
    if index is not None and project != Path():
        raise UserError("--index excludes --project: leave it out, since an index names its model.")
    if bool(videos) != (backbone is not None):
        raise UserError("--videos and --backbone need each other, since a CLIP encodes the videos: pass both.")
    with paused():
        from structalign.serve.server import check
        from structalign.serve.server import serve as run
    from platformdirs import user_cache_path

    from structalign.library.opening import refuse_other
    from structalign.serve.collection import opened

    host = host.removeprefix("[").removesuffix("]").lower()  # as an address has it
    check(host, token, allow_name or ())
    path, indexing = index or project, None
    if videos and backbone is not None:
        from structalign.library.folder_index import begin

        path = begin(videos, backbone)
        code = "from structalign.cli.app import main; main()"
        command = [sys.executable, "-c", code, "index", *map(str, videos), "--backbone", backbone]
        indexing = subprocess.Popen([*command, "--index", str(path)], stdin=subprocess.DEVNULL)
    else:
        refuse_other(path)

    def ready(address: str) -> None:
        say(f"open {address} in a browser; Ctrl-C stops.")

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that child processes are ended
    if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:  # a closed terminal; `nohup` ignores it
        signal.signal(signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    try:
        cache = user_cache_path("structalign") / "media"
        run(opened(path, after), cache, round(cache_size * GIB), host, port, allow_name or (), token, ready)
    finally:
        if indexing is not None:
            indexing.send_signal(signal.SIGINT)  # it ends its own child processes
            indexing.wait()
