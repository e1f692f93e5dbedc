"""The process of a run: `python -m structalign.sweep.process FILE` writes FILE.

It reads its request as a line of JSON from standard input. It ends when standard input is closed. So it never outlives
the process that started it.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path
from threading import Thread

from structalign.errors import UserError
from structalign.store import write_json
from structalign.sweep.known import fingerprint
from structalign.sweep.measures import measures
from structalign.sweep.run import run


def main() -> None:
    """Do the run and write its file. A run that fails with a `UserError` writes a file too."""
    told = json.loads(sys.stdin.readline())
    Thread(target=end_with_input, daemon=True).start()
    asked = told["asked"]
    known = {"fingerprint": fingerprint(asked, told["data"])}
    try:
        done = run(asked["method"], asked["sections"], asked["split"], asked["rankings"])
        done |= {"measures": {row: measures(done, row) for row in done["rows"]}}
    except UserError as error:
        done = {"failed": str(error)}
    write_json(Path(sys.argv[1]), asked | known | done | {"seconds": time.process_time()})


def end_with_input() -> None:
    """Wait until standard input is closed, then end this process."""
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
