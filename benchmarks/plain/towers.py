"""The towers: the vision tower with fusion, and the text tower with a mixture of experts in its projections.

Letters: B pairs, N frames, S image size, T tokens of a frame, L tokens of a caption, W width, D embedding, E experts.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Weights = dict[str, Tensor]


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


def weights_of(model: nn.Module) -> Weights:
    """A copy of a model's weights by name. Parameters that are trained there are trained here."""
    return {name: p.detach().clone().requires_grad_(p.requires_grad) for name, p in model.named_parameters()}


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
