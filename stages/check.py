"""Check params.yaml and tasks.yaml before anything runs. Write each stage's code digest and each task's losses.

Every stage depends on its file of work/code. So an invalid edit stops every run, and edited code re-runs the stages
that import it. Training depends on its task's file of work/losses. This stage does not import torch, since it runs
after every edit.
"""

import sys
from contextlib import suppress

from structalign.code_digest import Code
from structalign.code_seen import write_digests
from structalign.console import command
from structalign.data.leftovers import leftovers
from structalign.data.pretrained import too_small
from structalign.data.tasks import TASKS, category_ids, has_former_columns, read_tasks
from structalign.errors import UserError
from structalign.params.losses import acting
from structalign.params.reading import PARAMS
from structalign.params.schema import refuse_too_many, validate
from structalign.paths import CODE, LOSSES
from structalign.store import whole_folder, write_json
from structalign.strict_yaml import load_yaml
from structalign.text import some


def main() -> None:
    """Check params.yaml and tasks.yaml. If both are valid, write work/code/<stage> and work/losses/<task>.json."""
    try:
        params, tasks = load_yaml(PARAMS), read_tasks()
        valid = validate(params)
        refuse_too_many(valid, len(category_ids(tasks)))
    except UserError:
        # `dvc exp run -S` may leave git's index with the edited file's time. If the size is equal, git then takes the
        # file for unchanged, and `git checkout params.yaml` would do nothing.
        PARAMS.touch()
        raise
    code = Code()
    stages = {module.removeprefix("stages.") for module in code.modules() if module.startswith("stages.")} - {"check"}
    with whole_folder(CODE) as folder:
        write_digests(folder, code, stages, params)
    with whole_folder(LOSSES) as folder:
        for number, task in enumerate(tasks, start=1):
            write_json(folder / f"{task}.json", acting(valid, number))
    if stale := leftovers(tasks):
        print(
            f"{some(stale)}: these belong to tasks that {TASKS} no longer has, but would still be loaded: "
            "remove them with `structalign doctor --fix`.",
            file=sys.stderr,
        )
    with suppress(UserError):  # a missing backbone: `prepare` downloads or refuses it
        if problem := too_small(valid.frames.size, valid.backbone.name):
            print(f"{PARAMS}: {problem}.", file=sys.stderr)
    if has_former_columns():
        print(
            "tasks.yaml has the columns `crp` and `pseudo` of an older version, which are no longer used: "
            "remove them with `structalign migrate`.",
            file=sys.stderr,
        )


if __name__ == "__main__":
    command(main)
