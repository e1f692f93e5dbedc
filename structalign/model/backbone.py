"""Zero-shot CLIP. Only this file uses transformers.

CLIP's code is never copied: its sub-modules are called. The vision tower is split into a prefix, whose output can be
cached, and a suffix. The text tower is always called as a whole, since it makes its causal mask inside.

Shapes: M images, T = 1 + P tokens of an image, R captions, L tokens of a caption, W width, D embedding.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from structalign.collector import paused
from structalign.errors import UserError
from structalign.gathered import is_gathered, verify_gathered
from structalign.model.device import send
from structalign.preprocessing import read_statistics
from structalign.store import read_json
from structalign.text import plural

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Tokens:
    """Captions as token ids, padded on the right with the end-of-text id.

    ids: [R, L] int64. eot: [R] int64, the position of the first end-of-text token. cut: the number of truncated
    captions.
    unknown: the number of captions with characters that the vocabulary lacks, which are left out.
    """

    ids: Tensor
    eot: Tensor
    cut: int = 0
    unknown: int = 0

    def __getitem__(self, rows: Tensor) -> "Tokens":
        """The captions `rows`, without the padding columns that none of them needs."""
        eot = self.eot[rows]
        length = int(eot.max()) + 1
        return Tokens(self.ids[rows, :length], eot)

    def to(self, device: torch.device) -> "Tokens":
        return Tokens(send(self.ids, device), send(self.eot, device), self.cut, self.unknown)

    def real(self) -> Tensor:
        """[R, L] bool: everything but padding."""
        return torch.arange(self.ids.shape[1], device=self.ids.device) <= self.eot[:, None]

    def words_with_padding(self) -> Tensor:
        """[R, L] bool, the released rule: all tokens except the start token, id 0 ("!") and the first end-of-text.

        So padding counts, and a caption may have no word.
        """
        position = torch.arange(self.ids.shape[1], device=self.ids.device)
        return (self.ids != self.ids[:, :1]) & (self.ids != 0) & (position != self.eot[:, None])

    def word_ids(self) -> Tensor:
        """[R, L] int64: the ids strictly between start and first end-of-text, and -1 elsewhere."""
        position = torch.arange(self.ids.shape[1], device=self.ids.device)
        return torch.where((position > 0) & (position < self.eot[:, None]), self.ids, -1)

    def word_mask(self) -> Tensor:
        """[R, L] bool: the tokens strictly between start and first end-of-text (method, section 2).

        For a caption without such tokens, end-of-text is the only word.
        """
        position = torch.arange(self.ids.shape[1], device=self.ids.device)
        eot = self.eot[:, None]
        words = (position > 0) & (position < eot)
        return torch.where(eot > 1, words, position == eot)


def multi_head_attention(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    """softmax(q k^T / sqrt(W / heads)) v in each head. query: [M, T', W]; key, value: [M, T, W]. Returns [M, T', W].

    It is fused on a GPU. On a CPU the fused backward pass in bfloat16 takes three times as long as the products.
    """
    q, k, v = (x.view(*x.shape[:2], heads, -1).transpose(1, 2) for x in (query, key, value))
    if q.is_cuda:
        mixed = F.scaled_dot_product_attention(q, k, v)
    else:
        mixed = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(dim=-1).to(v.dtype) @ v
    return mixed.transpose(1, 2).flatten(2)


def class_token(attention: Any, hidden: Tensor) -> Tensor:
    """[M, T, W] -> [M, 1, W], a tower's attention at the first token as the only query, with all tokens as keys.

    An adapter around the attention computes this itself.
    """
    if hasattr(attention, "class_token"):
        return cast(Tensor, attention.class_token(hidden))
    # contiguous: how torch multiplies a strided tensor depends on whether the weights learn
    first = hidden[:, :1].contiguous()
    query, key, value = attention.q_proj(first), attention.k_proj(hidden), attention.v_proj(hidden)
    return cast(Tensor, attention.out_proj(multi_head_attention(query, key, value, attention.num_heads)))


class Clip(nn.Module):
    """A frozen Hugging Face `CLIPModel` with the calls that this project needs.

    recompute: do not keep activations inside a layer of the vision suffix. The backward pass computes them again.
    """

    def __init__(self, model: nn.Module, recompute: bool = False):
        super().__init__()
        self.recompute = recompute
        self.model = model.eval().requires_grad_(False)
        self.config: Any = model.config

    @property
    def vision_layers(self) -> nn.ModuleList:
        return cast(nn.ModuleList, self._vision.encoder.layers)

    @property
    def text_layers(self) -> nn.ModuleList:
        return cast(nn.ModuleList, self._text.encoder.layers)

    @property
    def _vision(self) -> Any:
        return self.model.vision_model

    @property
    def _text(self) -> Any:
        return self.model.text_model

    def vision_products(self) -> Iterator[nn.Parameter]:
        """Weights and biases of the vision tower's matrix products and convolution, those of its adapters included."""
        for tower in (self._vision, self.model.visual_projection):
            for module in cast(nn.Module, tower).modules():
                if isinstance(module, nn.Linear | nn.Conv2d):
                    yield from module.parameters(recurse=False)

    @property
    def image_size(self) -> int:
        return int(self.config.vision_config.image_size)

    @property
    def text_width(self) -> int:
        return int(self.config.text_config.hidden_size)

    @property
    def text_tokens(self) -> int:
        """Size of the vocabulary."""
        return int(self.config.text_config.vocab_size)

    @property
    def text_positions(self) -> int:
        """Tokens of the longest caption."""
        return int(self.config.text_config.max_position_embeddings)

    @property
    def vision_positions(self) -> int:
        """Tokens T of an image."""
        return (self.image_size // int(self.config.vision_config.patch_size)) ** 2 + 1

    @property
    def temperature(self) -> Tensor:
        """exp(logit_scale), at most 100, as CLIP was trained."""
        return cast(Tensor, self.model.logit_scale).exp().clamp(max=100)

    @property
    def embedding_dim(self) -> int:
        return int(self.config.projection_dim)

    def vision_prefix(self, pixels: Tensor, depth: int) -> Tensor:
        """[M, 3, S, S] normalised pixels -> [M, T, W] states after `depth` layers."""
        states = self._vision.pre_layrnorm(self._vision.embeddings(pixels))
        for layer in self.vision_layers[:depth]:
            states = layer(states, attention_mask=None)
        return cast(Tensor, states)

    def vision_suffix(self, states: Tensor, depth: int) -> Tensor:
        """[M, T, W] states after `depth` layers -> [M, D] raw image embeddings.

        The last layer only computes the class token, since no other token is used.
        """
        last = len(self.vision_layers) - 1
        for layer in self.vision_layers[depth:last]:
            states = self._run(layer, states)
        image = self._last_class_token(states) if depth <= last else states
        return cast(Tensor, self.model.visual_projection(self._vision.post_layernorm(image[:, 0])))  # type: ignore[operator]

    def _run(self, layer: nn.Module, states: Tensor) -> Tensor:
        if self.recompute and torch.is_grad_enabled():
            return cast(Tensor, checkpoint(layer, states, attention_mask=None, use_reentrant=False))
        return cast(Tensor, layer(states, attention_mask=None))

    def _last_class_token(self, states: Tensor) -> Tensor:
        """[M, T, W] -> [M, 1, W], the class token after the last layer."""
        layer: Any = self.vision_layers[-1]
        token = states[:, :1] + class_token(layer.self_attn, layer.layer_norm1(states))
        return cast(Tensor, token + layer.mlp(layer.layer_norm2(token)))

    def text(self, tokens: Tokens, padding_mask: bool = False) -> Tensor:
        """[R, L, D] raw embeddings of every token: projection of the final layer norm.

        By the causal mask, no token sees the padding on its right. So a padding mask only changes the embeddings of
        padding. Use it if padding counts as words.
        """
        mask = tokens.real().long() if padding_mask else None
        hidden = self._text(input_ids=tokens.ids, attention_mask=mask).last_hidden_state
        return cast(Tensor, self.model.text_projection(hidden))  # type: ignore[operator]


def empty_clip(config: dict[str, Any]) -> Clip:
    """A CLIP of this config.json with random weights, to be filled from a state dict."""
    with paused():
        from transformers.models.clip.configuration_clip import CLIPConfig
        from transformers.models.clip.modeling_clip import CLIPModel

    settings = CLIPConfig(**config)
    settings._attn_implementation = "eager"
    return Clip(CLIPModel(settings))


def load_clip(folder: Path, device: torch.device = CPU, recompute: bool = False) -> Clip:
    """Load a CLIP folder in float32, frozen, onto a device. Raises `UserError` if it is no CLIP folder.

    Attention is fused on a GPU. recompute: as in `Clip`.
    """
    with paused():
        from transformers.models.clip.modeling_clip import CLIPModel
        from transformers.utils import logging

    verify_gathered(folder)
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # errors are reported in one sentence below
    pretrained: Any = CLIPModel.from_pretrained  # its type lacks output_loading_info
    try:
        model, loading = pretrained(
            folder,
            local_files_only=True,
            dtype=torch.float32,
            attn_implementation="sdpa" if device.type == "cuda" else "eager",
            output_loading_info=True,
        )
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # malformed configs or weights may raise any error
        raise UserError(_no_clip(folder, _line(error))) from None
    for key, what in (("missing_keys", "lacks"), ("unexpected_keys", "has")):
        # older files also have the positions, which are computed now
        if names := sorted(name for name in loading[key] if not name.endswith("position_ids")):
            reason = f"it {what} {plural(len(names), 'weight')} {names[0]}" + ", and more" * (len(names) > 1)
            raise UserError(_no_clip(folder, f"{reason}, beside its config.json"))
    for name, weight in model.state_dict().items():
        if not weight.isfinite().all():
            raise UserError(_no_clip(folder, f"{name} has values that are not finite"))
    return Clip(model, recompute).to(device)


def _line(error: Exception) -> str:
    """An error's message in one line."""
    return " ".join(str(error).split())[:120] or type(error).__name__


def _no_clip(folder: Path, reason: str) -> str:
    """The message about a folder without a usable CLIP. Only the pipeline's copy depends on params.yaml."""
    way = "set backbone.name and run `dvc repro`" if is_gathered(folder) else "name another CLIP"
    return f"{folder} has no CLIP that can be loaded ({reason}): {way}."


def pixel_statistics(folder: Path) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation [3, 1, 1] of the backbone's preprocessor (pixels in 0..1)."""
    mean, std = (torch.tensor(numbers).view(3, 1, 1) for numbers in read_statistics(folder))
    return mean, std


class Tokeniser:
    """A backbone's tokenizer. It truncates captions to the text tower's positions and keeps the end-of-text token."""

    def __init__(self, folder: Path):
        with paused():
            from transformers import AutoTokenizer

        config = read_json(folder / "config.json")
        try:
            self.limit = int((config.get("text_config") or {}).get("max_position_embeddings", 77))
            self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except Exception as error:  # malformed files may raise any error
            raise UserError(_no_clip(folder, f"no tokenizer: {_line(error)}")) from None

    def __call__(self, texts: list[str]) -> Tokens:
        """Token ids of `texts`. A row's sentence embedding is read at its first end-of-text token."""
        end = int(self._tokenizer.eos_token_id)
        # special tokens in a caption are plain text: as a token, end-of-text would truncate the caption
        found = self._tokenizer(texts, split_special_tokens=True)["input_ids"] if texts else []
        # an unknown character becomes end-of-text too: a small vocabulary may lack some
        rows = [[*row[:1], *(token for token in row[1:-1] if token != end), *row[1:][-1:]] for row in found]
        unknown = sum(len(row) < len(whole) for row, whole in zip(rows, found, strict=True))
        cut = sum(len(row) > self.limit for row in rows)
        rows = [row if len(row) <= self.limit else [*row[: self.limit - 1], end] for row in rows]
        length = max(map(len, rows), default=1)
        ids = torch.tensor([row + [end] * (length - len(row)) for row in rows], dtype=torch.int64).view(
            len(rows), length
        )
        eot = (ids == end).int().argmax(dim=1)
        return Tokens(ids, eot, cut, unknown)

    def words(self, tokens: Tokens) -> list[tuple[str, list[int]]]:
        """The words of the first caption, and the positions of each one's tokens, without start and end."""
        found: list[tuple[str, list[int]]] = []
        begins = True
        for position in range(1, int(tokens.eot[0])):
            token = str(self._tokenizer.convert_ids_to_tokens(int(tokens.ids[0, position])))
            text = str(self._tokenizer.decode([int(tokens.ids[0, position])])).strip()
            if begins:
                found.append((text, [position]))
            else:
                found[-1] = (found[-1][0] + text, [*found[-1][1], position])
            begins = token.endswith("</w>")
        return found

    def warn_truncated(self, tokens: Tokens, label: str) -> None:
        """Print how many captions were truncated or lost characters, if any."""
        if tokens.cut:
            cut = plural(tokens.cut, "caption")
            print(f"{label}: {cut} with more than the {self.limit} tokens that CLIP reads, truncated there.")
        if tokens.unknown:
            lossy = plural(tokens.unknown, "caption")
            print(f"{label}: {lossy} with characters that this CLIP's vocabulary lacks, which are left out.")
