"""`structalign import-released FILE`: a checkpoint folder from a file of the authors' released code."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from structalign.console import say
from structalign.data.pretrained import resolve
from structalign.data.tasks import TASKS, category_ids, read_tasks
from structalign.text import plural

KEPT = "released.safetensors"  # in the checkpoint: what the model has no place for

app = typer.Typer(add_completion=False)


class Words(StrEnum):
    """`adapters.words`."""

    with_padding = "with_padding"
    strict = "strict"


@app.command()
def import_released(
    file: Annotated[Path, typer.Argument(help="A released state dict, .safetensors or torch.save's.")],
    backbone: Annotated[str, typer.Option(help="The CLIP it was trained on: a folder, or a name on the hub.")],
    out: Annotated[Path, typer.Option(help="The checkpoint folder to write, as checkpoints/t10.")],
    frames: Annotated[int, typer.Option(help="Frames a video: 12 (MSRVTT), 24 (ActivityNet).")] = 12,
    vision_frozen: Annotated[int, typer.Option(help="Vision layers without fusion: 2, or 0 (ActivityNet).")] = 2,
    alpha: Annotated[float, typer.Option(help="LoRA scale a.")] = 256,
    words: Annotated[Words, typer.Option(help="Which tokens are words.")] = Words.with_padding,
    tasks: Annotated[
        int | None, typer.Option(help="Tasks it has learned; all its task prototypes if not given.")
    ] = None,
) -> None:
    """Make a checkpoint that searches, embeds and is evaluated; the options say what a released file does not.

    Task names and categories come from tasks.yaml where there is one.
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
    model, kept = from_released(state, load_clip(resolve(backbone)), like, str(file))
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
