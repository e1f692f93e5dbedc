"""`structalign export-released CHECKPOINT FILE`: write a checkpoint with the parameter names of the released code."""

from pathlib import Path
from typing import Annotated

import typer

from structalign.cli.import_released import KEPT
from structalign.console import say
from structalign.data.pretrained import of_checkpoint, of_option, resolve
from structalign.errors import UserError

app = typer.Typer(add_completion=False)


@app.command()
def export_released(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint folder.")],
    file: Annotated[Path, typer.Argument(help="The file to write: .safetensors, or else torch.save's format.")],
    backbone: Annotated[str, typer.Option(help="Its CLIP. Default: the one that the checkpoint names.")] = "",
) -> None:
    """Write one state dict with CLIP, adapters and heads."""
    import torch
    from safetensors.torch import load_file, save_file

    from structalign.model.backbone import load_clip
    from structalign.model.checkpoint import build_model, read_config
    from structalign.model.released_names import to_released
    from structalign.store import whole

    config = read_config(checkpoint)
    name = backbone or config.backbone
    called = of_option(name) if backbone else of_checkpoint(checkpoint, name)
    clip = resolve(name, called, "name the checkpoint's CLIP with `--backbone`, by its folder or hub name")
    model = build_model(load_clip(clip), config, checkpoint)
    if model is None:
        raise UserError(f"{checkpoint} has no adapters, since it is zero-shot CLIP: use CLIP itself.")
    kept = load_file(checkpoint / KEPT) if (checkpoint / KEPT).exists() else {}
    state = {name: tensor.contiguous() for name, tensor in to_released(model, kept).items()}
    with whole(file) as part:
        if file.suffix == ".safetensors":
            save_file(state, part)
        else:
            torch.save(state, part)
    say(f"{file}: {len(state)} tensors")
