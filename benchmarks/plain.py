"""A plain float32 implementation of the released computation: the baseline of the benchmarks.

Every step runs the whole vision tower on every pair's video. From task 2 on it also runs the teacher's towers on the
same batch. As in the released code, training computes similarities in a loop over pairs. Evaluation computes them in
a loop over captions, with one batched product over all videos. Of the library it only uses a model's weights.
The constants of the losses are the paper's (method, section 5).

Letters: B pairs, N frames, S image size, T tokens of a frame, L tokens of a caption, W width, D embedding,
d ETF space, E experts, Q queries, V videos.
"""

import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

SCALE, PSEUDO_SCALE = 17.6, 99.48431564193378  # of the word-frame logits: e^4.60
CRP_WEIGHT, CRP_TEMPERATURE = 10.0, 2.0
ETF_WEIGHT, PSEUDO_WEIGHT = 0.1, 0.5

Weights = dict[str, Tensor]
Floats = NDArray[np.floating]
Integers = NDArray[np.int64]
Pseudo = tuple[Tensor, Tensor, Tensor]  # text and video [n, D], category [n]
Group = tuple[list[str], float, float]  # names, learning rate, decay


@dataclass(frozen=True)
class Plan:
    """Settings that are not in the weights. fused: first vision layer with fusion. scale: a / r of the mixture.

    noise: given router logits, returns standard normals of their shape.
    """

    frames: int
    fused: int
    vision_heads: int
    text_heads: int
    patch: int
    scale: float
    dropout: float
    noise: Callable[[Tensor], Tensor] = torch.randn_like


@dataclass(frozen=True)
class Batch:
    """pixels: [B, N, 3, S, S] of distinct videos, normalised; ids: [B, L], padded; eot: [B]; category: [B].

    etf_pseudo and pseudo: pairs drawn for L_ETF and for L_pseudo, from task 2 on.
    """

    pixels: Tensor
    ids: Tensor
    eot: Tensor
    category: Tensor
    etf_pseudo: Pseudo | None = None
    pseudo: Pseudo | None = None


def weights_of(model: nn.Module) -> Weights:
    """A copy of a model's weights by name. Parameters that are trained there are trained here."""
    return {name: p.detach().clone().requires_grad_(p.requires_grad) for name, p in model.named_parameters()}


# --- pieces of a transformer ---


def linear(weights: Weights, name: str, x: Tensor) -> Tensor:
    return F.linear(x, weights[f"{name}.weight"], weights.get(f"{name}.bias"))


def layer_norm(weights: Weights, name: str, x: Tensor) -> Tensor:
    weight = weights[f"{name}.weight"]
    return F.layer_norm(x, weight.shape, weight, weights[f"{name}.bias"])


def attention(query: Tensor, key: Tensor, value: Tensor, heads: int, causal: bool = False) -> Tensor:
    """[M, T, W] each -> [M, T, W]."""
    count, tokens, width = query.shape
    q, k, v = (x.view(count, tokens, heads, -1).transpose(1, 2) for x in (query, key, value))
    logits = q @ k.transpose(2, 3) / math.sqrt(width // heads)
    if causal:
        ahead = torch.ones(tokens, tokens, dtype=torch.bool, device=query.device).triu(1)
        logits = logits.masked_fill(ahead, -torch.inf)
    return (logits.softmax(dim=-1) @ v).transpose(1, 2).reshape(count, tokens, width)


def mlp(weights: Weights, name: str, x: Tensor) -> Tensor:
    hidden = linear(weights, f"{name}.fc1", x)
    return linear(weights, f"{name}.fc2", hidden * torch.sigmoid(1.702 * hidden))


def layers_of(weights: Weights, tower: str) -> int:
    part = f"clip.model.{tower}.encoder.layers."
    return 1 + max(int(name.removeprefix(part).split(".")[0]) for name in weights if name.startswith(part))


# --- the vision tower ---


def frame_embeddings(weights: Weights, plan: Plan, pixels: Tensor) -> Tensor:
    """[B, N, 3, S, S] -> [B, N, D], not normalised. Runs the whole tower for every video of the batch."""
    name = "clip.model.vision_model"
    flat = pixels.flatten(0, 1)
    patches = F.conv2d(flat, weights[f"{name}.embeddings.patch_embedding.weight"], stride=plan.patch)
    start = weights[f"{name}.embeddings.class_embedding"].expand(len(flat), 1, -1)
    x = torch.cat([start, patches.flatten(2).transpose(1, 2)], dim=1)
    x = x + weights[f"{name}.embeddings.position_embedding.weight"]
    x = layer_norm(weights, f"{name}.pre_layrnorm", x)
    for index in range(layers_of(weights, "vision_model")):
        layer = f"{name}.encoder.layers.{index}"
        x = x + fused_attention(weights, plan, layer, index, layer_norm(weights, f"{layer}.layer_norm1", x))
        x = x + mlp(weights, f"{layer}.mlp", layer_norm(weights, f"{layer}.layer_norm2", x))
    summary = layer_norm(weights, f"{name}.post_layernorm", x[:, 0])
    return linear(weights, "clip.model.visual_projection", summary).view(*pixels.shape[:2], -1)


def fused_attention(weights: Weights, plan: Plan, layer: str, index: int, hidden: Tensor) -> Tensor:
    """(1 - alpha) SelfAttn(h) + alpha Cross(h). Before the first layer with fusion: SelfAttn(h)."""
    name = f"{layer}.self_attn"
    inner = f"{name}.attention" if index >= plan.fused else name
    q, k, v = (linear(weights, f"{inner}.{part}_proj", hidden) for part in "qkv")
    own = linear(weights, f"{inner}.out_proj", attention(q, k, v, plan.vision_heads))
    if index < plan.fused:
        return own
    videos = hidden.view(-1, plan.frames, *hidden.shape[1:])
    if index % 2 == 0:
        neighbour = torch.cat([videos[:, :1], videos[:, :-1]], dim=1)
    else:
        neighbour = torch.cat([videos[:, 1:], videos[:, -1:]], dim=1)
    q = linear(weights, f"{name}.q_proj", neighbour.flatten(0, 1))
    k, v = linear(weights, f"{name}.k_proj", hidden), linear(weights, f"{name}.v_proj", hidden)
    cross = linear(weights, f"{name}.out_proj", attention(q, k, v, plan.vision_heads))
    alpha = weights[f"{name}.alpha"]
    return (1 - alpha) * own + alpha * cross


# --- the text tower ---


def token_embeddings(weights: Weights, plan: Plan, ids: Tensor, eot: Tensor, task: int, train: bool = False) -> Tensor:
    """[B, L] ids -> [B, L, D], not normalised. Every caption is routed as `task` (from 1)."""
    name = "clip.model.text_model"
    places = weights[f"{name}.embeddings.position_embedding.weight"][: ids.shape[1]]
    x = F.embedding(ids, weights[f"{name}.embeddings.token_embedding.weight"]) + places
    for index in range(layers_of(weights, "text_model")):
        layer = f"{name}.encoder.layers.{index}"
        h = layer_norm(weights, f"{layer}.layer_norm1", x)
        q, k, v = (project(weights, plan, f"{layer}.self_attn.{part}_proj", h, eot, task, train) for part in "qkv")
        mixed = attention(q, k, v, plan.text_heads, causal=True)
        x = x + project(weights, plan, f"{layer}.self_attn.out_proj", mixed, eot, task, train)
        x = x + mlp(weights, f"{layer}.mlp", layer_norm(weights, f"{layer}.layer_norm2", x))
    return linear(weights, "clip.model.text_projection", layer_norm(weights, f"{name}.final_layer_norm", x))


def project(weights: Weights, plan: Plan, name: str, x: Tensor, eot: Tensor, task: int, train: bool) -> Tensor:
    """W x + b + (a / r) sum_e g_e B_e A x. Each expert runs on the captions that chose it."""
    y = linear(weights, f"{name}.linear", x)
    low = F.linear(F.dropout(x, plan.dropout, train), weights[f"{name}.lora_A"])
    for expert, gate in enumerate(gates(weights, plan, name, x, eot, task, train).T):
        rows = gate.nonzero()[:, 0]
        if len(rows):
            update = F.linear(low[rows], weights[f"{name}.lora_Bs.{expert}"])
            y = y.index_add(0, rows, plan.scale * gate[rows, None, None] * update)
    return y


def gates(weights: Weights, plan: Plan, name: str, x: Tensor, eot: Tensor, task: int, train: bool) -> Tensor:
    """[B, E]. Task 1 uses expert 0. Later tasks use a softmax over the two largest of R (x[eot] + u_p)."""
    router = weights[f"{name}.router"]
    if task == 1:
        return F.one_hot(torch.zeros_like(eot), len(router)).to(x.dtype)
    rho = x[torch.arange(len(x), device=x.device), eot] + weights[f"task_prototypes.{task - 1}"]
    logits = rho @ router.T
    if train:
        logits = logits + plan.noise(logits) * (F.softplus(rho @ weights[f"{name}.w_noise"].T) + 0.01)
    best = logits.topk(2, dim=1)
    return torch.zeros_like(logits).scatter(1, best.indices, best.values.softmax(dim=1))


def words_of(embeddings: Tensor, eot: Tensor) -> list[Tensor]:
    """The words of each caption: the tokens strictly between start and end, or the end token if there are none."""
    return [row[1:end] if end > 1 else row[end : end + 1] for row, end in zip(embeddings, eot.tolist(), strict=True)]


def encode_captions(
    weights: Weights, plan: Plan, ids: Tensor, eot: Tensor, tasks: Iterable[int], batch: int = 32
) -> list[tuple[list[Tensor], Tensor]]:
    """For each task, each caption's words and the sentences [R, D]: two passes, batches padded to their longest."""
    found = []
    with torch.no_grad():
        for task in tasks:
            words, sentences = list[Tensor](), list[Tensor]()
            for start in range(0, len(ids), batch):
                ends = eot[start : start + batch]
                part = ids[start : start + batch, : int(ends.max()) + 1]
                words += words_of(token_embeddings(weights, plan, part, ends, task), ends)
                second = token_embeddings(weights, plan, part, ends, task)
                sentences.append(second[torch.arange(len(ends), device=ends.device), ends])
            found.append((words, torch.cat(sentences)))
    return found


# --- similarity ---


def word_frame_by_pair(words: Sequence[Tensor], frames: Tensor) -> Tensor:
    """[Q, V] s of every caption, given as its words [L, D], and every video of [V, N, D], as in training.

    Pairs are computed one at a time, and each normalises its vectors again.
    """
    return torch.stack([torch.stack([of_pair(w, video) for video in frames]) for w in words])


def of_pair(words: Tensor, frames: Tensor) -> Tensor:
    """s of [L, D] and [N, D]."""
    cosine = F.normalize(words, dim=-1) @ F.normalize(frames, dim=-1).T
    return (cosine.max(dim=1).values.mean() + cosine.max(dim=0).values.mean()) / 2


def word_frame_by_caption(words: Sequence[Tensor], frames: Tensor) -> Tensor:
    """[Q, V] s as in evaluation: one caption and all videos at a time."""
    units = F.normalize(frames, dim=-1).transpose(1, 2)
    rows = []
    for w in words:
        cosine = torch.bmm(F.normalize(w, dim=-1).expand(len(units), -1, -1), units)
        rows.append((cosine.max(dim=2).values.mean(dim=1) + cosine.max(dim=1).values.mean(dim=1)) / 2)
    return torch.stack(rows)


def sentence_video(sentences: Tensor, frames: Tensor) -> Tensor:
    """[Q, V] g of every sentence [Q, D] and every video of [V, N, D]."""
    videos = F.normalize(F.normalize(frames, dim=-1).mean(dim=1), dim=-1)
    return F.normalize(sentences, dim=-1) @ videos.T


# --- ranking ---


def fused(words: Floats, sentence: Floats, beta: float) -> Floats:
    """The ranking score [Q, V]: the weighted sum of both similarities, standardised by row."""

    def standardised(scores: Floats) -> Floats:
        deviation = np.maximum(scores.std(axis=1, keepdims=True), 1e-6)
        found: Floats = (scores - scores.mean(axis=1, keepdims=True)) / deviation
        return found

    return beta * standardised(words) + (1 - beta) * standardised(sentence)


def places(scores: Floats, own: Integers) -> Integers:
    """[Q] the rank, from 1, of column `own` in each row, by sorting the whole row."""
    order = np.argsort(-scores, axis=1)
    found: Integers = np.argmax(order == own[:, None], axis=1) + 1
    return found


def rank(scores: dict[str, Floats], own: Integers, task: Integers, beta: float) -> dict[str, Integers]:
    """Ranks of the method and of zero-shot CLIP, by sorting.

    They are text to video among all videos, text to video among the own task's videos, and video to text. `own`: [Q]
    the video of each query, which has no other query. task: [V]. Scores [Q, V] are named `<system>.<similarity>`.
    """
    found = {"zero_shot_sentence": places(scores["zero_shot.sentence"], own)}
    for system in ("method", "zero_shot"):
        words, sentence = scores[f"{system}.words"], scores[f"{system}.sentence"]
        both = fused(words, sentence, beta)
        found[f"{system}_text"] = places(both, own)
        found[f"{system}_video"] = places(both[:, own].T, np.arange(len(own)))
        found[f"{system}_task"] = np.zeros(len(own), dtype=np.int64)
        for number in np.unique(task[own]):
            rows, columns = np.flatnonzero(task[own] == number), np.flatnonzero(task == number)
            here = fused(words[rows][:, columns], sentence[rows][:, columns], beta)
            found[f"{system}_task"][rows] = places(here, np.searchsorted(columns, own[rows]))
    return found


# --- losses ---


def cross_entropies(logits: Tensor) -> Tensor:
    """Cross-entropy of rows plus cross-entropy of columns. The diagonal is the ground truth."""
    target = torch.arange(len(logits), device=logits.device)
    return F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)


def relation(student: Tensor, teacher: Tensor) -> Tensor:
    parts = []
    for s, r in ((student, teacher), (student.T, teacher.T)):
        p = (r / CRP_TEMPERATURE).softmax(dim=1)
        q = (s / CRP_TEMPERATURE).log_softmax(dim=1)
        parts.append(CRP_TEMPERATURE**2 * (p * (p.log() - q)).sum(dim=1).mean())
    return (parts[0] + parts[1]) / 2


def alignment(words: Sequence[Tensor], frames: Tensor, vertices: Tensor) -> Tensor:
    """mean_b [2 - cos(w_b, e_c) - cos(f_b, e_c)], pooled by attention to the vertex. All vectors are in ETF space."""
    rows = []
    for caption, video, vertex in zip(words, frames, vertices, strict=True):
        text = (caption @ vertex).softmax(dim=0) @ caption
        seen = (video @ vertex).softmax(dim=0) @ video
        rows.append(2 - F.cosine_similarity(text, vertex, dim=0) - F.cosine_similarity(seen, vertex, dim=0))
    return torch.stack(rows).mean()


def addends(
    weights: Weights, teacher: Weights, plan: Plan, batch: Batch, task: int, vertices: Tensor
) -> dict[str, Tensor]:
    """The weighted losses of a batch, by name. The teacher encodes the batch again, routed as the previous task."""
    frames = frame_embeddings(weights, plan, batch.pixels)
    words = words_of(token_embeddings(weights, plan, batch.ids, batch.eot, task, train=True), batch.eot)
    logits = SCALE * word_frame_by_pair(words, frames)
    found = {"contrastive": cross_entropies(logits)}
    if task > 1:
        with torch.no_grad():
            shown = frame_embeddings(teacher, plan, batch.pixels)
            said = words_of(token_embeddings(teacher, plan, batch.ids, batch.eot, task - 1), batch.eot)
            taught = SCALE * word_frame_by_pair(said, shown)
        found["crp"] = CRP_WEIGHT * relation(logits, taught)
    head = weights["head.weight"]
    etf = alignment([w @ head.T for w in words], frames @ head.T, vertices[batch.category])
    if batch.etf_pseudo is not None:
        text, video, category = batch.etf_pseudo
        own = vertices[category]
        both = F.cosine_similarity(text @ head.T, own) + F.cosine_similarity(video @ head.T, own)
        etf = etf + (2 - both).mean()
    base = sum((value.detach() for value in found.values()), torch.zeros((), device=etf.device))
    found["etf"] = ETF_WEIGHT * base / etf.detach().clamp(min=1e-3) * etf
    if batch.pseudo is not None:
        text, video, _ = batch.pseudo
        texts = torch.cat([torch.stack([F.normalize(w.mean(dim=0), dim=0) for w in words]), text])
        videos = torch.cat([torch.stack([F.normalize(f.mean(dim=0), dim=0) for f in frames]), video])
        found["pseudo"] = PSEUDO_WEIGHT * cross_entropies(PSEUDO_SCALE * texts @ videos.T)
    return found


class Training:
    """The updates of one task."""

    def __init__(
        self, weights: Weights, teacher: Weights, plan: Plan, task: int, vertices: Tensor, groups: Sequence[Group]
    ):
        self.weights, self.teacher, self.plan, self.task, self.vertices = weights, teacher, plan, task, vertices
        self.learning = [weights[name] for names, _, _ in groups for name in names]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": [weights[name] for name in names], "lr": lr, "weight_decay": decay}
                for names, lr, decay in groups
            ],
            eps=1e-6,
        )

    def step(self, batch: Batch) -> dict[str, float]:
        """One update. Returns the loss's addends and the gradient norm before clipping to 1."""
        found = addends(self.weights, self.teacher, self.plan, batch, self.task, self.vertices)
        self.optimizer.zero_grad()
        torch.stack(list(found.values())).sum().backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.learning, 1.0)
        self.optimizer.step()
        return {name: value.item() for name, value in found.items()} | {"grad_norm": norm.item()}


# --- loading ---


def load_frames(files: Sequence[Path], size: int, mean: Tensor, std: Tensor) -> Tensor:
    """PNG files of a video -> [N, 3, size, size] normalised: bicubic resize of the short side, centre crop."""
    frames = []
    for image in map(opened, files):
        scale = size / min(image.size)
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
        left, top = (image.width - size) // 2, (image.height - size) // 2
        frames.append(image.crop((left, top, left + size, top + size)))
    return normalised(frames, mean, std)


def load_random_crop(files: Sequence[Path], size: int, mean: Tensor, std: Tensor) -> Tensor:
    """The same with one random crop of at least half of the area, and one flip, for all frames."""
    images = [opened(file) for file in files]
    width, height = images[0].size
    side = math.sqrt(random.uniform(0.5, 1))
    w, h = round(side * width), round(side * height)
    left, top = random.randint(0, width - w), random.randint(0, height - h)
    box, mirror = (left, top, left + w, top + h), random.random() < 0.5
    frames = [image.resize((size, size), Image.Resampling.BILINEAR, box) for image in images]
    if mirror:
        frames = [frame.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for frame in frames]
    return normalised(frames, mean, std)


def opened(file: Path) -> Image.Image:
    with Image.open(file) as image:
        return image.convert("RGB")


def normalised(frames: Sequence[Image.Image], mean: Tensor, std: Tensor) -> Tensor:
    pixels = torch.stack([torch.from_numpy(np.array(frame)) for frame in frames])
    return (pixels.permute(0, 3, 1, 2).float() / 255 - mean) / std
