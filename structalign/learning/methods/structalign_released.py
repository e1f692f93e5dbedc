"""StructAlign as the authors' released code computes it, with the quirks that no ablation covers.

The released scientific choices are settings (presets/released.yaml). Other differences from `methods.structalign`
(method, sections 5 and 6, "as released"):

- Logits are scaled by e^{4.60} / sqrt(B), those of L_pseudo by e^{4.60}. 4.60 is a parameter in the graph, but is never
  trained.
- The heads are swapped for pseudo-features: text uses the video head, and video uses the text head.
- Pseudo-features come from augmented, shuffled views in full batches only, with one sample per pair. Their texts are
  routed without a task prototype, also in task 1. A category with one sample gives NaN.
- AdamW adds eps before the bias correction. It decays all trained parameters, after the step.
- The cosine runs through a whole period. The rate is zero in the middle and ends at its maximum.
- Temperature, both projections of CLIP and frozen heads collect gradients that are never zeroed. These count in the
  clip norm and are scaled with the others.
- Partial batches are dropped.
- BWF encodes past videos again (`python -m structalign.learning.methods.structalign_released t10`).

Two points depart from the released code. It keeps the epoch, and the pseudo-features, with the best R@1 on the test
set. Here test data chooses nothing, and the last epoch is kept. Its ActivityNet loader gives pseudo-features the
category numbers of task 1 again. Here every category keeps its own number.

Letters: B pairs of a batch, D embedding, d ETF space, Q queries, V videos.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, cast

import torch
from safetensors.torch import load_file
from torch import Tensor

from structalign.console import command
from structalign.errors import UserError
from structalign.learning import optimizer as ours
from structalign.learning.batches import Pairs
from structalign.learning.context import Batch, TaskContext
from structalign.learning.memory import Memory, remember
from structalign.learning.method import CONTRASTIVE, Method, Term
from structalign.learning.methods.structalign import (
    TRAINS,
    crp,
    crp_teachers,
    etf_weight,
    etf_with,
    pseudo_at,
)
from structalign.model.backbone import Tokeniser, Tokens, load_clip
from structalign.model.checkpoint import build_model, read_config
from structalign.model.device import prepare_device
from structalign.model.features import Features
from structalign.model.text_encoding import encode_captions
from structalign.model.video_text import TextEmbeddings, VideoText
from structalign.params.losses import Crp, Etf, Pseudo
from structalign.params.optim import Phase, Shared
from structalign.paths import BACKBONE, CHECKPOINTS, FEATURES, MANIFEST, REPORTS, SCORES
from structalign.search.similarity import sentence_video, word_frame
from structalign.store import read_json, write_json
from structalign.text import plural

LOGIT_SCALE = 4.60


# --- losses ---


def logit_scale(model: VideoText) -> Tensor:
    """The temperature's logarithm, a parameter of CLIP."""
    return cast(Tensor, model.clip.model.logit_scale)


def set_temperature(task: TaskContext, step: int, steps: int) -> None:
    """Set the temperature to 4.60 before the first step. CLIP's own is 4.6052."""
    if step == 0:
        logit_scale(task.model).data.fill_(LOGIT_SCALE)


def scale(task: TaskContext) -> Tensor:
    """e^{4.60} / sqrt(B)."""
    return logit_scale(task.model).exp() / math.sqrt(task.settings.shared.batch)


def etf(task: TaskContext, batch: Batch) -> Tensor:
    """L_ETF with swapped heads for pseudo-features."""
    return etf_with(task, batch, task.model.head.video, task.model.head.text)


def pseudo(task: TaskContext, batch: Batch) -> Tensor:
    """L_pseudo, at e^{4.60}."""
    return pseudo_at(task, batch, logit_scale(task.model).exp())


# --- steps ---


def full_batches(pairs: Pairs, size: int) -> Iterator[Pairs]:
    """Full batches only."""
    if len(pairs.caption) < size:
        raise UserError(
            f"the task has {plural(len(pairs.caption), 'training pair')} an epoch, less than one batch, and "
            f"`structalign_released` drops partial batches: lower `optim.shared.batch` = {size}."
        )
    for start in range(0, len(pairs.caption) - size + 1, size):
        part = slice(start, start + size)
        yield Pairs(pairs.caption[part], pairs.video[part], pairs.view[part])


def whole_cosine(step: int, steps: int, warmup: float) -> float:
    """Factor on the learning rate: linear warm-up, then a whole period of a cosine, zero in its middle."""
    rising = int(warmup * steps)
    if step < rising:
        return step / rising
    return 0.5 * (1 + math.cos(2 * math.pi * (step - rising) / (steps - rising)))


class ReleasedAdamW(torch.optim.Optimizer):
    """p -= lr sqrt(1 - b2^k) / (1 - b1^k) m / (sqrt(v) + eps), then p -= lr wd p.

    A parameter without a gradient does not move. A group with `leftover` never moves, and its gradients are never
    zeroed.
    """

    def __init__(self, groups: Iterable[dict[str, Any]]):
        defaults = {"lr": 0.0, "betas": (0.9, 0.999), "eps": 1e-6, "weight_decay": 0.0, "leftover": False}
        super().__init__(groups, defaults)

    def zero_grad(self, set_to_none: bool = True) -> None:
        for p in self._parameters(leftover=False):
            p.grad = None

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            if not group["leftover"]:
                for p in group["params"]:
                    if p.grad is not None:
                        self._move(p, group)
        for p in self._parameters(leftover=True):  # needed to resume an interrupted run
            if p.grad is not None:
                self.state[p]["grad"] = p.grad

    def _move(self, p: Tensor, group: dict[str, Any]) -> None:
        (first, second), state = group["betas"], self.state[p]
        if not state:
            state |= {"step": torch.zeros(()), "m": torch.zeros_like(p), "v": torch.zeros_like(p)}
        state["step"] += 1
        state["m"].mul_(first).add_(p.grad, alpha=1 - first)
        state["v"].mul_(second).addcmul_(p.grad, p.grad, value=1 - second)
        k = int(state["step"])
        rate = group["lr"] * math.sqrt(1 - second**k) / (1 - first**k)
        p.addcdiv_(state["m"], state["v"].sqrt() + group["eps"], value=-rate)
        p.add_(p, alpha=-group["lr"] * group["weight_decay"])

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        for p in self._parameters(leftover=True):
            p.grad = self.state[p].get("grad")

    def _parameters(self, leftover: bool) -> list[Tensor]:
        return [p for group in self.param_groups if group["leftover"] == leftover for p in group["params"]]


def optimizer(
    model: VideoText, trains: tuple[str, ...], task: int, shared: Shared, phase: Phase
) -> torch.optim.Optimizer:
    """The groups of `learning.optimizer`, all decayed. One more group collects gradients without being trained."""
    groups = ours.optimizer(model, trains, task, shared, phase).param_groups
    clip: Any = model.clip.model
    candidates = [clip.logit_scale, clip.visual_projection.weight, clip.text_projection.weight]
    leftovers = [*candidates, *(p for p in model.head.parameters() if not p.requires_grad)]
    for p in leftovers:
        p.requires_grad_(True)
        p.grad = None
    chosen = [
        {name: group[name] for name in ("name", "params", "initial_lr")} | {"weight_decay": shared.weight_decay}
        for group in groups
    ]
    return ReleasedAdamW([*chosen, {"name": "leftover", "params": leftovers, "initial_lr": 0.0, "leftover": True}])


def forget_leftovers(task: TaskContext) -> None:
    """At the end of a task, freeze the parameters that collected gradients without being trained."""
    learning = {id(p) for group in task.model.learning(task.number).values() for p in group}
    for p in task.model.parameters():
        if id(p) not in learning:
            p.requires_grad_(False)
            p.grad = None


# --- pseudo-features ---


@torch.no_grad()
def pseudo_features(task: TaskContext, categories: int) -> Memory:
    """The memory after one more pass over the augmented views, after the last epoch."""
    texts, videos, category = [], [], []
    for part in full_batches(task.epoch(task.settings.phase.epochs), task.settings.shared.batch):
        text = encode_unrouted(task.model, task.captions.tokens[part.caption].to(task.device))
        states, inverse = task.read(part)
        texts.append(text.mean_words().cpu())
        videos.append(task.embed_frames(states)[inverse].mean(dim=1).cpu())
        category.append(task.captions.category[part.caption])
    return released_memory(task.memory, torch.cat(texts), torch.cat(videos), torch.cat(category), categories)


def encode_unrouted(model: VideoText, tokens: Tokens) -> TextEmbeddings:
    """Captions routed only by x[eot], without a task. Pseudo-features of texts are computed from them."""
    nothing = torch.zeros(len(tokens.eot), model.clip.text_width, device=tokens.eot.device)
    later = torch.full((len(tokens.eot),), 2, device=tokens.eot.device)
    return model.encode_routed(tokens, later, nothing)


def released_memory(memory: Memory, text: Tensor, video: Tensor, category: Tensor, count: int) -> Memory:
    """`memory` with the next `count` categories. text, video: [pairs, D] raw means of words and of frames.

    A category of one pair has radius NaN. A category without pairs has mean NaN.
    """
    after = remember(memory, text, category, video, category, count)
    few = torch.bincount(category, minlength=after.learned)[: after.learned] < 2
    few[: memory.learned] = False
    return replace(
        after,
        text_radius=after.text_radius.masked_fill(few, math.nan),
        video_radius=after.video_radius.masked_fill(few, math.nan),
    )


# --- evaluation ---


def released_accuracy(words: Tensor, sentence: Tensor, beta: float, ground_truth: Tensor, own: slice) -> float:
    """R@1 (percent) of one task's queries, as the released BWF computes it.

    words, sentence: [Q, V] similarities to all seen videos. own: the task's columns, which the current model has
    encoded again. ground_truth: [Q] columns. Scores are standardised over all columns before they are cut to `own`.
    """
    first, second = (
        (x - x.mean(dim=1, keepdim=True)) / x.std(dim=1, correction=0, keepdim=True).clamp(min=1e-6)
        for x in (words.double(), sentence.double())
    )
    fused = beta * first + (1 - beta) * second
    scored = fused.gather(1, ground_truth[:, None])
    return 100.0 * float(((fused[:, own] >= scored).sum(dim=1) == 1).double().mean())


def released_forgetting(acc: dict[str, dict[str, float]], categories: dict[str, int], now: str) -> float:
    """BWF after task `now`: the mean of Acc(i, i) - Acc(i, now) over the tasks before, weighted by categories."""
    past = [task for task in acc[now] if task != now]
    lost = sum(categories[task] * (acc[task][task] - acc[now][task]) for task in past)
    return lost / max(1, sum(categories[task] for task in past))


@torch.inference_mode()
def main(last: str, beta: float = 0.5) -> None:
    """Write reports/released.json: Acc(i, t) and BWF on the test split up to task LAST, videos encoded again."""
    device = prepare_device()
    tokeniser, tasks = Tokeniser(BACKBONE), read_config(CHECKPOINTS / last).tasks
    acc: dict[str, dict[str, float]] = {}
    for now in tasks:
        folder = CHECKPOINTS / now
        model = build_model(load_clip(BACKBONE, device), read_config(folder), folder)
        if model is None:
            raise UserError(f"{folder} holds no adapters: the released BWF needs the checkpoint of a trained method.")
        model.to(device)
        rows = read_json(SCORES / now / "test.json")
        file = SCORES / now / "test.safetensors"
        if not file.exists():
            raise UserError(f"{file} does not exist: raise STRUCTALIGN_SCORES_MIB and run `dvc repro -f embed@{now}`.")
        scores = load_file(file)
        column = {video["id"]: place for place, video in enumerate(rows["videos"])}
        acc[now] = {}
        for number, task in enumerate(tasks[: tasks.index(now) + 1], start=1):
            places = [place for place, video in enumerate(rows["videos"]) if video["task"] == task]
            own = slice(places[0], places[-1] + 1)
            asked = [row for row, query in enumerate(rows["queries"]) if query["task"] == task]
            features = Features(FEATURES / task / "test")
            frames = torch.cat([
                model.encode_frames(features.read(i).to(device)[None]).cpu() for i in range(len(features))
            ])  # fmt: skip
            text = encode_captions(model, tokeniser([rows["queries"][row]["text"] for row in asked]), number, device)
            words, sentence = scores["method.words"][asked], scores["method.sentence"][asked]
            words[:, own] = word_frame(text.words, text.mask, frames)
            sentence[:, own] = sentence_video(text.sentence, frames)
            ground_truth = torch.tensor([column[rows["queries"][row]["video"]] for row in asked])
            acc[now][task] = released_accuracy(words, sentence, beta, ground_truth, own)
    sizes = {task: len(read_json(MANIFEST / task / "task.json")["categories"]) for task in tasks}
    write_json(REPORTS / "released.json", {"BWF": {t: released_forgetting(acc, sizes, t) for t in tasks}, "acc": acc})


METHOD = Method(
    trains=TRAINS,
    scale=scale,
    terms=(
        CONTRASTIVE,
        Term("crp", crp, Crp, teachers=crp_teachers),
        Term("etf", etf, Etf, weight=etf_weight),
        Term("pseudo", pseudo, Pseudo),
    ),
    optimizer=optimizer,
    rate=whole_cosine,
    batches=full_batches,
    update_memory=pseudo_features,
    after_step=set_temperature,
    after_task=forget_leftovers,
)

if __name__ == "__main__":
    command(main)
