"""Refuse a wrong params.yaml or tasks.yaml before anything runs.

Every stage depends on this one's output, whose content never changes: a valid edit re-runs nothing by it,
a wrong one stops even a run with a target. Torch-free, since it runs after every edit.
"""

from pathlib import Path

from structalign.console import command
from structalign.data.tasks import category_ids, read_tasks
from structalign.errors import UserError
from structalign.params import PARAMS, load_yaml
from structalign.sections.all import refuse_too_many, validate
from structalign.store import whole

CHECKED = Path("work/checked")


def main() -> None:
    """Check params.yaml and tasks.yaml; write work/checked if both are right."""
    try:
        refuse_too_many(validate(load_yaml(PARAMS)), len(category_ids(read_tasks())))
    except UserError:
        # `dvc exp run -S` may leave git's index with the edited file's time: where the size is as before, git then
        # holds it for unchanged, and `git checkout params.yaml`, the way out, would do nothing
        PARAMS.touch()
        raise
    with whole(CHECKED) as temporary:
        temporary.write_text("params.yaml and tasks.yaml are valid\n", encoding="utf-8")


if __name__ == "__main__":
    command(main)
