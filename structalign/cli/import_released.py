"""`structalign import-released FILE`: convert a file of the authors' released code to a checkpoint folder."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from structalign.console import say
from structalign.data.pretrained import of_option, resolve
from structalign.data.tasks import TASKS, category_ids, read_tasks
from structalign.text import plural

KEPT = "released.safetensors"  # a file of the checkpoint, with the tensors that the model does not use

app = typer.Typer(add_completion=False)


class Words(StrEnum):
    """`adapters.words`."""

    with_padding = "with_padding"
    strict = "strict"


@app.command()
def import_released(
    file: Annotated[Path, typer.Argument(help="A released state dict: a .safetensors file, or one of torch.save.")],
    backbone: Annotated[str, typer.Option(help="The CLIP it was trained on: a folder, or a name on the hub.")],
    out: Annotated[Path, typer.Option(help="The checkpoint folder to write, for example checkpoints/t10.")],
    frames: Annotated[int, typer.Option(help="Frames per video: 12 (MSRVTT) or 24 (ActivityNet).")] = 12,
    vision_frozen: Annotated[int, typer.Option(help="Vision layers without fusion: 2, or 0 (ActivityNet).")] = 2,
    alpha: Annotated[float, typer.Option(help="The scale alpha of LoRA.")] = 256,
    words: Annotated[Words, typer.Option(help="Which tokens count as words.")] = Words.with_padding,
    tasks: Annotated[
        int | None, typer.Option(help="Tasks that the model has learned. Default: one per task prototype.")
    ] = None,
) -> None:
    """Make a checkpoint for search, encoding and evaluation.

    The options give what the released file does not contain. If tasks.yaml exists, it names the tasks and categories.
    """
    from safetensors.torch import save_file

    from structalign.errors import UserError
    from structalign.model.backbone import load_clip
    from structalign.model.checkpoint import CheckpointConfig, save_checkpoint
    from structalign.model.released_names import from_released, read_released
    from structalign.model.video_text import ModelConfig
    from structalign.store import whole_folder

    like = ModelConfig(frames, vision_frozen, 0, alpha, 0, 0.1, 0, head="frozen_random", words=words.value)
    state = read_released(file)
    model, kept = from_released(state, load_clip(resolve(backbone, of_option(backbone))), like, str(file))
    learned = len(model.task_prototypes) if tasks is None else tasks
    if not 1 <= learned <= len(model.task_prototypes):
        raise UserError(
            f"{file} has {plural(len(model.task_prototypes), 'task prototype')}: `--tasks` can't be {learned}."
        )
    known = read_tasks() if TASKS.exists() else {}
    keys = list(known)[:learned] if len(known) >= learned else [f"t{number:02d}" for number in range(1, learned + 1)]
    chosen = {key: known[key] for key in keys if key in known}
    config = CheckpointConfig(backbone, "structalign_released", 0, keys, category_ids(chosen), model.config)
    with whole_folder(out) as folder:
        save_checkpoint(folder, config, model.adapter_state(), {})
        save_file({name: tensor.contiguous() for name, tensor in kept.items()}, folder / KEPT)
    experts = plural(model.config.experts, "expert")
    say(f"{out}: {plural(learned, 'task')}, {experts} of rank {model.config.rank}")
