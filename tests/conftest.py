"""Setup of all tests, and the fixtures of more than one file."""

import gc
import os

from hypothesis import settings

settings.register_profile("default", deadline=None)  # a busy machine takes longer than any limit
settings.load_profile("default")
os.environ["DVC_NO_ANALYTICS"] = "1"  # otherwise every DVC command of a project made here starts one more Python

pytest_plugins = ["finished_run", "browsing", "served"]


def pytest_collection_finish() -> None:
    """Exclude the objects of all imports from garbage collection, which would scan them again and again."""
    gc.collect()
    gc.freeze()
