"""A small released state dict with no tensor at its initial value, and batches for our code and for the loops."""

from dataclasses import replace

import torch
from oracle import Given, Plan
from tiny import DIM, ETF_DIM, FRAMES, IMAGE, noise, settings, shaken, tiny_clip, tokens, turned
from torch import Tensor

from structalign.learning.methods import structalign_released as released
from structalign.learning.reference.training import Step
from structalign.learning.settings import Settings
from structalign.model.released_names import to_released
from structalign.model.video_text import ModelConfig, VideoText
from structalign.params.losses import Contrastive, Crp

PLAN = Plan(heads=4, patch=16, fused=1, scale=4.0)
LIKE = ModelConfig(FRAMES, 1, 2, 8.0, 3, 0.0, ETF_DIM, head="frozen_random", words="with_padding")
CONFIG = tiny_clip().config.to_dict()
PAIRS, CATEGORIES, EXPERTS, UPDATES = 3, 6, 3, 10
SIZE = 0.05
RATES = {"fusion": 1e-2, "lora": 1e-2, "alpha": 2e-2, "prototype": 2e-2}
DECAY = 0.5
# words, "!" (id 0), a caption as long as the longest and shorter ones, which padding fills up
CAPTIONS = (((5, 6, 0, 7), (8,), (9, 10)), ((11, 12), (0, 13, 14), (15,)), ((16,), (17, 18, 19), (5, 0)))


def state_of(tasks: int = 3) -> dict[str, Tensor]:
    """A state dict with no tensor at its initial value."""
    state = to_released(released_model(tasks), {})
    state["clipmodel.logit_scale"] = torch.tensor(released.LOGIT_SCALE)
    return {name: x.detach() for name, x in state.items()}


def exact(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: x.double() for name, x in state.items() if not name.endswith("position_ids")}


def steps_of(task: int, count: int) -> list[Step]:
    found = []
    for k in range(count):
        pixels = noise(PAIRS, FRAMES, 3, IMAGE, IMAGE, seed=10 + k)
        table = noise(PAIRS, EXPERTS, seed=20 + k)
        step = Step(
            pixels,
            tokens(*CAPTIONS[k]),
            torch.tensor([0, 0, 1]),  # two captions of one video
            torch.tensor([4, 4, 5]),
            noise=lambda logits, table=table: table,  # type: ignore[misc]
        )
        if task > 1:
            etf, pseudo = drawn(2 * PAIRS, 30 + k), drawn(PAIRS, 60 + k)
            step = replace(step, etf_pseudo=etf, pseudo=pseudo)
        found.append(step)
    return found


def drawn(count: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    scale = DIM**-0.5
    return scale * noise(count, DIM, seed=seed), scale * noise(count, DIM, seed=seed + 1), torch.arange(count) % 4


def given(step: Step) -> Given:
    return Given(
        step.pixels.double(),
        step.tokens.ids.tolist(),
        step.tokens.eot.tolist(),
        step.category.tolist(),
        step.noise(torch.empty(0)).double(),
        double(step.etf_pseudo),
        double(step.pseudo),
    )


def act(task: int) -> Settings:
    """The preset's settings at small sizes."""
    base = settings(task, batch=PAIRS, warmup=0.1 if task == 1 else 0.0)
    phase = base.phase.model_copy(update={"lr": RATES["lora"], "alpha_lr": RATES["alpha"]})
    chosen = turned(turned(base, Contrastive, mask_duplicates=False), Crp, teacher="pretrained")
    return replace(chosen, phase=phase)


def doubled(step: Step) -> Step:
    table = step.noise(torch.empty(0)).double()
    return replace(
        step,
        pixels=step.pixels.double(),
        etf_pseudo=double(step.etf_pseudo),
        pseudo=double(step.pseudo),
        noise=lambda logits: table,
    )


def double(pairs: tuple[Tensor, Tensor, Tensor] | None) -> tuple[Tensor, Tensor, Tensor] | None:
    return None if pairs is None else (pairs[0].double(), pairs[1].double(), pairs[2])


def close(found: Tensor, expected: Tensor, relative: float) -> None:
    """Compare every number, relative to the largest of its tensor."""
    largest = float(expected.abs().max())
    torch.testing.assert_close(found.double(), expected, rtol=relative, atol=relative * largest)


def released_model(tasks: int = 1) -> VideoText:
    model = VideoText(tiny_clip(), LIKE, 0)
    for task in range(tasks):
        model.add_task_prototype("tiny", task)
    return shaken(model, size=SIZE)
