"""What holds for all tests, and the fixtures of more than one file."""

import gc
import os

os.environ["DVC_NO_ANALYTICS"] = "1"  # else every DVC command of a project made here starts one more Python

pytest_plugins = ["finished_run", "browsing", "served"]


def pytest_collection_finish() -> None:
    """Collecting imports torch, transformers and every test: no garbage collection need look through these again."""
    gc.collect()
    gc.freeze()
