"""A `python` for the proofs that has torch and transformers imported already.

The proofs start some sixty stages that need them, and a start takes four seconds. The server imports the
libraries once, without the project's code. It forks for each `python -m MODULE ARGUMENT...`. The child then imports
and runs the module, with the caller's folder, environment, output and exit code.

    python forkserver.py serve SOCKET          in the background
    python forkserver.py run SOCKET -m MODULE  what the `python` on the project's PATH does
"""

import json
import os
import runpy
import socket
import sys
from importlib import import_module
from pathlib import Path

LIBRARIES = (
    "torch",
    "transformers.models.clip.modeling_clip",
    "transformers.models.clip.tokenization_clip",
    "matplotlib.figure",
    "matplotlib.backends.backend_svg",
    "jinja2",
    "pydantic",
    "rich.table",
    "safetensors.torch",
    "typer",
    "yaml",
)
OUTPUTS = 3  # standard input, output and error travel as file descriptors


def serve(path: str) -> None:
    """Fork for one caller after another, since DVC runs one stage at a time."""
    for library in LIBRARIES:
        import_module(library)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        while True:
            caller, _ = server.accept()
            with caller:
                _answer(caller)


def _answer(caller: socket.socket) -> None:
    request, descriptors, _, _ = socket.recv_fds(caller, 1 << 20, OUTPUTS)
    child = os.fork()
    if child == 0:
        _become(json.loads(request), descriptors)
    for descriptor in descriptors:
        os.close(descriptor)
    _, status = os.waitpid(child, 0)
    caller.sendall(bytes([abs(os.waitstatus_to_exitcode(status))]))


def _become(request: dict[str, object], descriptors: list[int]) -> None:
    """Run the module in this fork as a fresh `python -m` would, and never return."""
    code = 1
    try:
        for number, descriptor in enumerate(descriptors):
            os.dup2(descriptor, number)
        os.chdir(str(request["folder"]))
        os.environ.clear()
        os.environ.update(request["environment"])  # type: ignore[call-overload]
        _, module, *arguments = list(request["arguments"])  # type: ignore[call-overload]
        sys.argv = [module, *arguments]
        sys.path[0] = str(request["folder"])
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def run(path: str, arguments: list[str]) -> int:
    """Let the server run `arguments`. Returns the exit code."""
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(path)
        request = {"folder": str(Path.cwd()), "environment": dict(os.environ), "arguments": arguments}
        socket.send_fds(server, [json.dumps(request).encode()], list(range(OUTPUTS)))
        return server.recv(1)[0]


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    raise SystemExit(run(sys.argv[2], sys.argv[3:]))
