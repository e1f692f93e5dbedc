"""What holds for all tests, and the fixtures of more than one file."""

import gc

pytest_plugins = ["finished_run", "browsing", "served"]


def pytest_collection_finish() -> None:
    """Collecting imports torch, transformers and every test: no garbage collection need look through these again."""
    gc.collect()
    gc.freeze()
