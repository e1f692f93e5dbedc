"""The method as the authors' code computes it, in slow loops of its formulas. The fast code must equal it.

A model is a mapping from the released names to tensors. They are float64, and their gradients are those of autograd
over these loops. The module does not use the library.

Letters: B pairs, N frames, T tokens of a frame, L tokens of a caption,
W width, D embedding, d ETF space, E experts.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Plan:
    """Settings that are not in a state dict. scale: a / r of the mixture. fused: first vision layer with fusion."""

    heads: int
    patch: int
    fused: int
    scale: float
    adapters: bool = True


# --- pieces of a transformer ---


def linear(state: State, name: str, x: Tensor) -> Tensor:
    y = x @ state[f"{name}.weight"].T
    return y + state[f"{name}.bias"] if f"{name}.bias" in state else y


def layer_norm(state: State, name: str, x: Tensor) -> Tensor:
    centred = x - x.mean(dim=-1, keepdim=True)
    deviation = ((centred**2).mean(dim=-1, keepdim=True) + 1e-5).sqrt()
    return centred / deviation * state[f"{name}.weight"] + state[f"{name}.bias"]


def attention(query: Tensor, key: Tensor, value: Tensor, heads: int, last: int | None = None) -> Tensor:
    """[T, W] each, one head and one query position at a time. With `last`, attention is causal and stops there."""
    size = query.shape[1] // heads
    rows = []
    for t in range(len(query)):
        parts = []
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            seen = len(key) if last is None else min(t, last) + 1
            logits = torch.stack([query[t, part] @ key[s, part] / math.sqrt(size) for s in range(seen)])
            weight = logits.exp() / logits.exp().sum()
            parts.append(sum((weight[s] * value[s, part] for s in range(seen)), torch.zeros_like(value[0, part])))
        rows.append(torch.cat(parts))
    return torch.stack(rows)


def mlp(state: State, name: str, x: Tensor) -> Tensor:
    hidden = linear(state, f"{name}.fc1", x)
    return linear(state, f"{name}.fc2", hidden * torch.sigmoid(1.702 * hidden))


def layers_of(state: State, tower: str) -> int:
    return len([name for name in state if name.startswith(f"clipmodel.{tower}.") and name.endswith("mlp.fc1.weight")])


# --- the vision tower ---


def frame_embeddings(state: State, plan: Plan, video: Tensor) -> Tensor:
    """[N, 3, S, S] normalised pixels of one video -> [N, D]."""
    frames = [embed_frame(state, plan, frame) for frame in video]
    for index in range(layers_of(state, "vision_model")):
        layer = f"clipmodel.vision_model.encoder.layers.{index}"
        normed = [layer_norm(state, f"{layer}.layer_norm1", x) for x in frames]
        attended = [fused_attention(state, plan, f"{layer}.self_attn", index, normed, n) for n in range(len(frames))]
        frames = [x + y for x, y in zip(frames, attended, strict=True)]
        frames = [x + mlp(state, f"{layer}.mlp", layer_norm(state, f"{layer}.layer_norm2", x)) for x in frames]
    first = [layer_norm(state, "clipmodel.vision_model.post_layernorm", x[0]) for x in frames]
    return torch.stack([linear(state, "clipmodel.visual_projection", x) for x in first])


def embed_frame(state: State, plan: Plan, frame: Tensor) -> Tensor:
    """[3, S, S] -> [T, W]: the class token and the patches, row by row."""
    name = "clipmodel.vision_model.embeddings"
    kernel, side = state[f"{name}.patch_embedding.weight"], plan.patch
    tokens = [state[f"{name}.class_embedding"]]
    for top in range(0, frame.shape[1], side):
        for left in range(0, frame.shape[2], side):
            patch = frame[:, top : top + side, left : left + side]
            tokens.append(torch.stack([(kernel[w] * patch).sum() for w in range(len(kernel))]))
    places = state[f"{name}.position_embedding.weight"]
    return layer_norm(state, "clipmodel.vision_model.pre_layrnorm", torch.stack(tokens) + places)


def fused_attention(state: State, plan: Plan, name: str, layer: int, frames: list[Tensor], n: int) -> Tensor:
    """(1 - alpha) SelfAttn(h) + alpha Cross(h) of frame n; in layers without fusion, SelfAttn alone."""
    own = frames[n]
    q, k, v = (linear(state, f"{name}.{part}_proj", own) for part in "qkv")
    alone = linear(state, f"{name}.out_proj", attention(q, k, v, plan.heads))
    if not plan.adapters or layer < plan.fused:
        return alone
    neighbour = max(n - 1, 0) if layer % 2 == 0 else min(n + 1, len(frames) - 1)
    cross = f"{name}.frame_cross_attention"
    q = linear(state, f"{cross}.q_proj", frames[neighbour])
    k, v = linear(state, f"{cross}.k_proj", own), linear(state, f"{cross}.v_proj", own)
    mixed = linear(state, f"{cross}.out_proj", attention(q, k, v, plan.heads))
    alpha = state[f"{name}.alpha"]
    return (1 - alpha) * alone + alpha * mixed


# --- the text tower ---


def token_embeddings(
    state: State, plan: Plan, ids: Sequence[int], eot: int, task: int | None, noise: Tensor | None = None
) -> Tensor:
    """One caption -> [L, D].

    task: routing, from 1, or None for x[eot] without a prototype. noise: [E], of a training step.
    """
    name = "clipmodel.text_model"
    table, places = (state[f"{name}.embeddings.{part}_embedding.weight"] for part in ("token", "position"))
    x = torch.stack([table[token] + places[place] for place, token in enumerate(ids)])
    for index in range(layers_of(state, "text_model")):
        layer = f"{name}.encoder.layers.{index}"
        h = layer_norm(state, f"{layer}.layer_norm1", x)
        q, k, v = (project(state, plan, f"{layer}.self_attn", part, h, eot, task, noise) for part in "qkv")
        mixed = attention(q, k, v, plan.heads, last=eot)  # padding is masked
        x = x + project(state, plan, f"{layer}.self_attn", "out", mixed, eot, task, noise)
        x = x + mlp(state, f"{layer}.mlp", layer_norm(state, f"{layer}.layer_norm2", x))
    return linear(state, "clipmodel.text_projection", layer_norm(state, f"{name}.final_layer_norm", x))


def project(
    state: State, plan: Plan, attn: str, part: str, x: Tensor, eot: int, task: int | None, noise: Tensor | None
) -> Tensor:
    """W x + b + (a / r) sum_e g_e B_e A x of all tokens of a caption."""
    y = linear(state, f"{attn}.{part}_proj", x)
    if not plan.adapters:
        return y
    lora = f"{attn}.{part}_lora"
    low = x @ state[f"{lora}.lora_A.weight"].T
    for expert, gate in gates(state, lora, x[eot], task, noise).items():
        y = y + plan.scale * gate * (low @ state[f"{lora}.lora_Bs.{expert}.weight"].T)
    return y


def gates(state: State, lora: str, at_eot: Tensor, task: int | None, noise: Tensor | None = None) -> dict[int, Tensor]:
    """Expert -> its gate. The two largest logits of R rho, rho = x[eot] + u_p, share a softmax; task 1: expert 0."""
    if task == 1:
        return {0: torch.ones((), dtype=at_eot.dtype)}
    rho = at_eot if task is None else at_eot + state[f"clipmodel.text_model.task_prototype.{task - 1}"]
    logits = state[f"{lora}.lora_route.weight"] @ rho
    if noise is not None:
        logits = logits + noise * (torch.log1p((state[f"{lora}.w_noise.weight"] @ rho).exp()) + 0.01)
    best, second = sorted(range(len(logits)), key=lambda e: float(logits[e].detach()), reverse=True)[:2]
    both = logits[best].exp() + logits[second].exp()
    return {best: logits[best].exp() / both, second: logits[second].exp() / both}


def padded_words(ids: Sequence[int], eot: int) -> list[int]:
    """Positions of words as released: all except the start token's id, 0 and the first end. Padding counts."""
    return [j for j, token in enumerate(ids) if token != ids[0] and token != 0 and j != eot]


def strict_words(ids: Sequence[int], eot: int) -> list[int]:
    """Positions strictly between start and the first end, or the end if there are none."""
    return list(range(1, eot)) or [eot]


# --- similarity and ranking ---


def cos(a: Tensor, b: Tensor) -> Tensor:
    return (a @ b) / ((a @ a).sqrt() * (b @ b).sqrt()).clamp(min=1e-12)


def unit(a: Tensor) -> Tensor:
    return a / (a @ a).sqrt()


def word_frame(words: Sequence[Tensor], frames: Tensor) -> Tensor:
    """s of one caption, given as its words, and one video. Without words it is 0."""
    if not len(words):
        return torch.zeros((), dtype=frames.dtype)
    by_word = [torch.stack([cos(w, f) for f in frames]).max() for w in words]
    by_frame = [torch.stack([cos(w, f) for w in words]).max() for f in frames]
    return (sum(by_word, torch.zeros(())) / len(by_word) + sum(by_frame, torch.zeros(())) / len(by_frame)) / 2


def sentence_video(sentence: Tensor, frames: Tensor) -> Tensor:
    """g of one caption and one video."""
    return cos(sentence, sum((unit(f) for f in frames), torch.zeros(())) / len(frames))


def ranking(words: Tensor, sentence: Tensor, beta: float) -> Tensor:
    """[Q, V] of both similarities -> the ranking score."""
    rows = []
    for q in range(len(words)):
        parts = []
        for row in (words[q], sentence[q]):
            mean = sum(float(x) for x in row) / len(row)
            deviation = math.sqrt(sum((float(x) - mean) ** 2 for x in row) / len(row))
            parts.append([(float(x) - mean) / max(deviation, 1e-6) for x in row])
        rows.append([beta * a + (1 - beta) * b for a, b in zip(*parts, strict=True)])
    return torch.tensor(rows, dtype=torch.float64)


def released_accuracy(words: Tensor, sentence: Tensor, beta: float, owner: Sequence[int], own: Sequence[int]) -> float:
    """R@1 (percent): scores standardised over all columns, then only the columns `own` compete."""
    scores = ranking(words, sentence, beta)
    right = 0
    for q, video in enumerate(owner):
        rank = 1 + sum(float(scores[q, v]) >= float(scores[q, video]) for v in own if v != video)
        right += rank == 1
    return 100 * right / len(owner)


# --- the ETF ---


def gaussian_vertices(dim: int, categories: int) -> Tensor:
    """[C, d]: normalised columns of W (I - 11^T / C), W = randn(d, C) in float32 with seed 0."""
    w = torch.randn(dim, categories, generator=torch.Generator().manual_seed(0)).double()
    centring = torch.eye(categories, dtype=torch.float64) - torch.ones(categories, categories).double() / categories
    return torch.stack([unit(column) for column in (w @ centring).T])


# --- losses ---


def cross_entropy(logits: Tensor) -> Tensor:
    """Mean over rows of -log softmax at the diagonal."""
    rows = [-(row[i] - row.exp().sum().log()) for i, row in enumerate(logits - logits.max().detach())]
    return torch.stack(rows).mean()


def contrastive(logits: Tensor) -> Tensor:
    return cross_entropy(logits) + cross_entropy(logits.T)


def relation(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    total = torch.zeros((), dtype=student.dtype)
    for s, r in ((student, teacher.detach()), (student.T, teacher.detach().T)):
        rows = []
        for i in range(len(s)):
            p, q = torch.softmax(r[i] / temperature, dim=0), torch.softmax(s[i] / temperature, dim=0)
            rows.append((p * (p.log() - q.log())).sum())
        total = total + temperature**2 * torch.stack(rows).mean()
    return total / 2


def attended(tokens: Sequence[Tensor], vertex: Tensor) -> Tensor:
    """sum_l softmax_l(<h(w_l), e>) h(w_l). Zero without words."""
    if not len(tokens):
        return torch.zeros_like(vertex)
    weight = torch.stack([token @ vertex for token in tokens]).exp()
    weight = weight / weight.sum()
    return sum((weight[i] * token for i, token in enumerate(tokens)), torch.zeros_like(vertex))


def alignment(words: Sequence[Sequence[Tensor]], frames: Tensor, vertices: Tensor) -> Tensor:
    """mean_b [2 - cos(w_b, e_c) - cos(f_b, e_c)], all in ETF space. vertices: [B, d], one for each pair."""
    rows = [
        2 - cos(attended(words[b], vertices[b]), vertices[b]) - cos(attended(list(frames[b]), vertices[b]), vertices[b])
        for b in range(len(vertices))
    ]
    return torch.stack(rows).mean()


def pseudo_alignment(text: Tensor, video: Tensor, vertices: Tensor) -> Tensor:
    rows = [2 - cos(text[b], vertices[b]) - cos(video[b], vertices[b]) for b in range(len(vertices))]
    return torch.stack(rows).mean()


@dataclass(frozen=True)
class Given:
    """One batch of a step. video: [B, N, 3, S, S]; ids, eot: B captions, padded; category: [B]; noise: [B, E].

    etf_pseudo and pseudo: pairs (text, video, category) drawn for L_ETF and for L_pseudo, from task 2 on.
    """

    video: Tensor
    ids: list[list[int]]
    eot: list[int]
    category: list[int]
    noise: Tensor
    etf_pseudo: tuple[Tensor, Tensor, Tensor] | None = None
    pseudo: tuple[Tensor, Tensor, Tensor] | None = None


def similarities(
    state: State, plan: Plan, given: Given, task: int | None, train: bool
) -> tuple[list[list[Tensor]], Tensor, Tensor]:
    """Words of each caption, frames [B, N, D], and s [B, B]."""
    words = []
    for b, ids in enumerate(given.ids):
        tokens = token_embeddings(state, plan, ids, given.eot[b], task, given.noise[b] if train else None)
        words.append([tokens[j] for j in padded_words(ids, given.eot[b])])
    frames = torch.stack([frame_embeddings(state, plan, video) for video in given.video])
    return words, frames, torch.stack([torch.stack([word_frame(w, f) for f in frames]) for w in words])


def addends(state: State, plan: Plan, given: Given, task: int, vertices: Tensor) -> dict[str, Tensor]:
    """The weighted released losses of a batch, by name, with the published weights and temperature."""
    words, frames, s = similarities(state, plan, given, task, train=True)
    scale = state["clipmodel.logit_scale"].exp()
    tau = scale / math.sqrt(len(given.ids))
    found = {"contrastive": contrastive(tau * s)}
    if task > 1:
        frozen = Plan(plan.heads, plan.patch, plan.fused, plan.scale, adapters=False)
        _, _, taught = similarities(state, frozen, given, task, train=False)
        found["crp"] = 10 * relation(tau * s, tau * taught, 2)
    h1, h2 = state["etf_proj1.weight"], state["etf_proj2.weight"]
    own = torch.stack([vertices[c] for c in given.category])
    etf = alignment([[h1 @ w for w in caption] for caption in words], frames @ h2.T, own)
    if given.etf_pseudo is not None:
        text, video, category = given.etf_pseudo
        etf = etf + pseudo_alignment(text @ h2.T, video @ h1.T, vertices[category])  # the heads are swapped
    base = sum((x.detach() for x in found.values()), torch.zeros(()))
    found["etf"] = 0.1 * base / etf.detach().clamp(min=1e-3) * etf
    if given.pseudo is not None:
        text, video, _ = given.pseudo
        texts = torch.cat([torch.stack([unit(torch.stack(w).mean(dim=0)) for w in words]), text])
        videos = torch.cat([torch.stack([unit(f.mean(dim=0)) for f in frames]), video])
        found["pseudo"] = 0.5 * contrastive(scale * videos @ texts.T)
    return found


# --- pseudo-features ---


def prototype(samples: Sequence[Tensor]) -> tuple[Tensor, float]:
    """Mean and radius sqrt(tr Cov / D) of normalised samples. One sample gives NaN."""
    mean = sum((unit(x) for x in samples), torch.zeros(())) / len(samples)
    if len(samples) < 2:
        return mean, math.nan
    total = sum(float(((unit(x) - mean) ** 2).sum()) for x in samples)
    return mean, math.sqrt(total / (len(samples) - 1) / len(mean))


# --- the optimizer ---


LATER = (".lora_Bs.", ".lora_route.", ".w_noise.")


def trained(state: State, plan: Plan, task: int) -> dict[str, str]:
    """Name -> kind of all trained parameters. After task 1, `alpha` and `prototype` have separate learning rates."""
    kinds = {}
    for name in state:
        if "frame_cross_attention" in name or name.endswith("self_attn.alpha"):
            if int(name.split(".layers.")[1].split(".")[0]) >= plan.fused:
                kinds[name] = "alpha" if name.endswith("alpha") else "fusion"
        elif any(part in name for part in (".lora_A.", ".lora_Bs.0.") + LATER * (task > 1)):
            kinds[name] = "lora"
        elif task > 1 and name == f"clipmodel.text_model.task_prototype.{task - 1}":
            kinds[name] = "prototype"
    return kinds


LEFTOVERS = (
    "clipmodel.logit_scale",
    "clipmodel.visual_projection.weight",
    "clipmodel.text_projection.weight",
    "etf_proj1.weight",
    "etf_proj2.weight",
)


def rate(k: int, steps: int, task: int) -> float:
    """Factor on the learning rate of update k: warm-up over a tenth of task 1, then a whole period of a cosine."""
    warm = int(0.1 * steps) if task == 1 else 0
    if k < warm:
        return k / warm
    return (1 + math.cos(2 * math.pi * (k - warm) / (steps - warm))) / 2


class Training:
    """The updates of one task: the state, its moments, and gradients that are never zeroed."""

    def __init__(self, state: State, plan: Plan, task: int, steps: int, rates: Mapping[str, float], decay: float):
        self.state = {name: x.clone().double() for name, x in state.items()}
        self.plan, self.task, self.steps, self.rates, self.decay = plan, task, steps, rates, decay
        self.kinds = trained(state, plan, task)
        self.left: dict[str, Tensor] = {}
        self.moments: dict[str, tuple[int, Tensor, Tensor]] = {}
        self.k = 0
        self.clipped: dict[str, Tensor] = {}

    def step(self, given: Given, vertices: Tensor) -> dict[str, float]:
        """One update. Returns the addends of its loss, and `grad_norm`, the norm before clipping."""
        names = [*self.kinds, *LEFTOVERS]
        leaves = {n: x.clone().requires_grad_(n in names) for n, x in self.state.items()}
        found = addends(leaves, self.plan, given, self.task, vertices)
        total = sum(found.values(), torch.zeros(()))
        new = torch.autograd.grad(total, [leaves[n] for n in names], allow_unused=True)
        gradients = {n: g for n, g in zip(names, new, strict=True) if g is not None}
        for n in LEFTOVERS:
            if n in gradients or n in self.left:
                gradients[n] = gradients.get(n, torch.zeros(())) + self.left.get(n, torch.zeros(()))
        norm = math.sqrt(sum(float((g**2).sum()) for g in gradients.values()))
        clip = min(1.0, 1.0 / (norm + 1e-6))
        self.clipped = gradients = {n: clip * g for n, g in gradients.items()}
        self.left = {n: gradients[n] for n in LEFTOVERS if n in gradients}
        factor = rate(self.k, self.steps, self.task)
        for n, kind in self.kinds.items():
            if n in gradients:
                self.move(n, gradients[n], factor * self.rates[kind])
        self.k += 1
        return {name: float(x.detach()) for name, x in found.items()} | {"grad_norm": norm}

    def move(self, name: str, gradient: Tensor, lr: float) -> None:
        k, m, v = self.moments.get(name, (0, torch.zeros_like(gradient), torch.zeros_like(gradient)))
        k, m, v = k + 1, 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        self.moments[name] = (k, m, v)
        p = self.state[name]
        p = p - lr * math.sqrt(1 - 0.999**k) / (1 - 0.9**k) * m / (v.sqrt() + 1e-6)
        self.state[name] = p - lr * self.decay * p
