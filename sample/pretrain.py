"""Pre-trains the tiny CLIP on still pictures: ``python -m sample.pretrain OUT``."""

import itertools
import json
import math
import shutil
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from sample import tokenizer
from sample.captions import vocabulary
from sample.webpairs import SIDE, Composer, Pair

MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)
IMAGES = {
    "image_processor_type": "CLIPImageProcessor",
    "do_convert_rgb": True,
    "do_resize": True,
    "size": {"shortest_edge": SIDE},
    "resample": 3,
    "do_center_crop": True,
    "crop_size": {"height": SIDE, "width": SIDE},
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": MEAN,
    "image_std": DEVIATION,
}
VOCABULARY = 1500
FADED = 0.8  # share of the steps after which the auxiliary losses have weight 0


def build(words: CLIPTokenizer) -> CLIPModel:
    """Build the tiny CLIP with random weights."""
    text = {
        "vocab_size": len(words),
        "hidden_size": 128,
        "intermediate_size": 512,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "max_position_embeddings": tokenizer.LENGTH,
        "bos_token_id": words.bos_token_id,
        "eos_token_id": words.eos_token_id,
        "pad_token_id": words.pad_token_id,
        "projection_dim": 128,
    }
    vision = {
        "image_size": SIDE,
        "patch_size": 8,
        "hidden_size": 160,
        "intermediate_size": 640,
        "num_hidden_layers": 4,
        "num_attention_heads": 5,
        "projection_dim": 128,
    }
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=128)
    # Prepare, `structalign init` and `data check` read this key. They refuse this CLIP for captions with other words.
    config.structalign_sample = sorted(vocabulary())
    config._attn_implementation = "eager"
    return CLIPModel(config)


def save(out: Path, model: CLIPModel, words: CLIPTokenizer) -> None:
    """Write the model in half precision with its tokenizer and image settings."""
    half = build(words).half()  # type: ignore[no-untyped-call]
    half.load_state_dict({name: value.half() for name, value in model.state_dict().items()})
    fresh = out.with_name(out.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    half.save_pretrained(fresh)
    words.backend_tokenizer.no_padding()  # training turned both on for its batches
    words.backend_tokenizer.no_truncation()
    words.save_pretrained(fresh)
    write_json(fresh / "preprocessor_config.json", IMAGES)
    settings = fresh / "tokenizer_config.json"
    values = json.loads(settings.read_text(encoding="utf-8"))
    values["model_max_length"] = tokenizer.LENGTH
    write_json(settings, values)
    out.mkdir(parents=True, exist_ok=True)
    for path in fresh.iterdir():
        path.chmod(0o644)
        path.replace(out / path.name)
    fresh.rmdir()


def write_json(path: Path, values: object) -> None:
    """Write ``values`` as JSON."""
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


class Auxiliary(nn.Module):
    """Classifiers shared by both encoders: the subject, and the background's colour and pattern."""

    def __init__(self, width: int, classes: tuple[int, int, int]) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(width, count) for count in classes)

    def forward(self, image: Tensor, text: Tensor, labels: Tensor, tells: Tensor) -> Tensor:
        """The loss of all heads. A text only counts for the background if it tells the background."""
        total = image.new_zeros(())
        for number, (head, weight) in enumerate(zip(self.heads, (1.0, 0.3, 0.3), strict=True)):
            target = labels[:, number]
            total = total + weight * functional.cross_entropy(head(image), target)
            loss = functional.cross_entropy(head(text), target, reduction="none")
            kept = torch.ones_like(loss) if number == 0 else tells
            total = total + weight * (loss * kept).sum() / kept.sum().clamp(min=1)
        return total


def tensors(batch: list[Pair], words: CLIPTokenizer) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels, token numbers and attention mask of a batch."""
    pixels = torch.from_numpy(np.stack([pair.pixels for pair in batch])).permute(0, 3, 1, 2)
    mean, deviation = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, DEVIATION))
    captions = [pair.caption for pair in batch]
    text = words(captions, padding=True, truncation=True, return_tensors="pt")
    return (pixels / 255 - mean) / deviation, text["input_ids"], text["attention_mask"]


def embed(features: object) -> Tensor:
    """The projected features, which transformers returns bare or in an output, depending on its version."""
    return features if isinstance(features, Tensor) else features.pooler_output  # type: ignore[attr-defined]


def main(
    out: Annotated[Path, typer.Argument(help="Folder for the model, for example data/clip.")],
    seed: Annotated[int, typer.Option(help="Seed of pictures, captions and weights.")] = 0,
    steps: Annotated[int, typer.Option(help="Training batches. 0 writes random weights.")] = 2105,
    batch: Annotated[int, typer.Option(help="Pairs in a batch.")] = 128,
    rate: Annotated[float, typer.Option(help="Peak learning rate.")] = 1.2e-3,
) -> None:
    """Pre-train the tiny CLIP and write it into OUT, in HuggingFace's format."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    sampler = Composer(seed)
    read = (pair.caption for pair in itertools.islice(Composer(seed + 1), 20_000))
    words = tokenizer.train(read, VOCABULARY)
    model = build(words)
    classes = (len(sampler.subjects), len(sampler.colours), len(sampler.patterns))
    auxiliary = Auxiliary(128, classes)
    count = sum(parameter.numel() for parameter in model.parameters())
    typer.echo(f"{count:,} parameters, {len(words)} tokens, {classes[0]} subjects")
    parameters = [*model.parameters(), *auxiliary.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=rate, betas=(0.9, 0.98), weight_decay=0.05)
    start, pairs = time.perf_counter(), iter(sampler)
    model.train()
    for step in range(steps):
        warm, share = min(1.0, (step + 1) / 100), step / steps
        optimizer.param_groups[0]["lr"] = rate * warm * 0.5 * (1 + math.cos(math.pi * share))
        drawn = list(itertools.islice(pairs, batch))
        pixels, tokens, mask = tensors(drawn, words)
        labels = torch.tensor([(p.subject, p.colour, p.pattern) for p in drawn])
        tells = torch.tensor([float(p.tells_background) for p in drawn])
        with torch.autocast("cpu", torch.bfloat16):
            image = embed(model.get_image_features(pixel_values=pixels))
            text = embed(model.get_text_features(input_ids=tokens, attention_mask=mask))
        image, text = image.float(), text.float()
        unit_image, unit_text = functional.normalize(image), functional.normalize(text)
        scores = model.logit_scale.exp() * unit_image @ unit_text.T
        target = torch.arange(batch)
        contrast = functional.cross_entropy(scores, target)
        contrast = (contrast + functional.cross_entropy(scores.T, target)) / 2
        weight = max(0.0, 1 - share / FADED)
        loss = contrast
        if weight:
            loss = loss + weight * auxiliary(image, text, labels, tells)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=math.log(100))
        if (step + 1) % 50 == 0:
            right = (scores.argmax(1) == target).float().mean().item()
            seconds = time.perf_counter() - start
            state = f"contrast {contrast.item():.3f}, image to text {right:.2f}"
            typer.echo(f"step {step + 1}: {state}, {seconds:.0f} s")
    save(out, model, words)


if __name__ == "__main__":
    typer.run(main)
