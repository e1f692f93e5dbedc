"""Refuse a wrong params.yaml or tasks.yaml before anything runs, and note what code each stage runs.

Every stage depends on its own file of work/code: a valid edit re-runs nothing by it, a wrong one stops even a run with
a target, and edited code re-runs the stages that import it. Torch-free, since it runs after every edit.
"""

from pathlib import Path

from structalign.code_digest import Code, stage_digest
from structalign.console import command
from structalign.data.tasks import category_ids, read_tasks
from structalign.errors import UserError
from structalign.params import PARAMS
from structalign.sections.all import refuse_too_many, validate
from structalign.store import whole_folder
from structalign.strict_yaml import load_yaml

CODE = Path("work/code")


def main() -> None:
    """Check params.yaml and tasks.yaml; write work/code/<stage> for every other stage if both are right."""
    try:
        params = load_yaml(PARAMS)
        refuse_too_many(validate(params), len(category_ids(read_tasks())))
    except UserError:
        # `dvc exp run -S` may leave git's index with the edited file's time: where the size is as before, git then
        # holds it for unchanged, and `git checkout params.yaml`, the way out, would do nothing
        PARAMS.touch()
        raise
    code = Code()
    stages = {module.removeprefix("stages.") for module in code.modules() if module.startswith("stages.")} - {"check"}
    with whole_folder(CODE) as folder:
        for stage in stages:
            (folder / stage).write_text(stage_digest(code, stage, params) + "\n", encoding="utf-8")


if __name__ == "__main__":
    command(main)
