"""The frozen CLIP: the only file that knows transformers.

CLIP is driven through its own sub-modules, never copied. The vision tower is split in a prefix, whose output can
be cached, and a suffix; the text tower is always called whole, since its causal mask is made inside.

Shapes: M images, T = 1 + P tokens of an image, R captions, L tokens of a caption, W width, D embedding.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from structalign.errors import UserError


@dataclass(frozen=True)
class Tokens:
    """Captions as token ids, padded on the right with the end-of-text id.

    ids: [R, L] int64; eot: [R] int64, the position of the first end-of-text token; cut: captions that were too long.
    """

    ids: Tensor
    eot: Tensor
    cut: int = 0

    def __getitem__(self, rows: Tensor) -> "Tokens":
        """The captions `rows`, without the padding columns that none of them needs."""
        eot = self.eot[rows]
        length = int(eot.max()) + 1
        return Tokens(self.ids[rows, :length], eot)

    def to(self, device: torch.device) -> "Tokens":
        return Tokens(self.ids.to(device), self.eot.to(device), self.cut)

    def real(self) -> Tensor:
        """[R, L] bool: everything but padding."""
        return torch.arange(self.ids.shape[1], device=self.ids.device) <= self.eot[:, None]

    def words_with_padding(self) -> Tensor:
        """[R, L] bool, the released rule: every token that is neither the start token's id, nor id 0 ("!"), nor the
        first end-of-text; so padding counts, and a caption may have no word at all."""
        position = torch.arange(self.ids.shape[1], device=self.ids.device)
        return (self.ids != self.ids[:, :1]) & (self.ids != 0) & (position != self.eot[:, None])

    def word_mask(self) -> Tensor:
        """[R, L] bool: tokens strictly between start and first end-of-text; a caption without any has its
        end-of-text as its only word (method, section 2)."""
        position = torch.arange(self.ids.shape[1], device=self.ids.device)
        eot = self.eot[:, None]
        words = (position > 0) & (position < eot)
        return torch.where(eot > 1, words, position == eot)


class Clip(nn.Module):
    """A frozen HuggingFace `CLIPModel` with the few calls that this project makes of it."""

    def __init__(self, model: nn.Module):
        super().__init__()
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
        """[M, T, W] states after `depth` layers -> [M, D] raw image embeddings."""
        for layer in self.vision_layers[depth:]:
            states = layer(states, attention_mask=None)
        return cast(Tensor, self.model.visual_projection(self._vision.post_layernorm(states[:, 0])))  # type: ignore[operator]

    def text(self, tokens: Tokens, padding_mask: bool = False) -> Tensor:
        """[R, L, D] raw embeddings of every token: projection of the final layer norm.

        The causal mask makes padding on the right invisible to all tokens before it, so a padding mask changes the
        embeddings of the padding alone: where that counts as words, ask for it.
        """
        mask = tokens.real().long() if padding_mask else None
        hidden = self._text(input_ids=tokens.ids, attention_mask=mask).last_hidden_state
        return cast(Tensor, self.model.text_projection(hidden))  # type: ignore[operator]


def empty_clip(config: dict[str, Any]) -> Clip:
    """A CLIP of this config.json with random weights, to be filled from a state dict."""
    from transformers.models.clip.configuration_clip import CLIPConfig
    from transformers.models.clip.modeling_clip import CLIPModel

    settings = CLIPConfig(**config)
    settings._attn_implementation = "eager"
    return Clip(CLIPModel(settings))


def load_clip(folder: Path) -> Clip:
    """Load a CLIP folder in float32, frozen. A folder that is none is a `UserError`."""
    from safetensors import SafetensorError
    from transformers.models.clip.modeling_clip import CLIPModel
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    pretrained: Any = CLIPModel.from_pretrained  # its type knows nothing of output_loading_info
    try:
        model, loading = pretrained(
            folder,
            local_files_only=True,
            dtype=torch.float32,
            attn_implementation="eager",
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise UserError(_no_clip(folder, str(error).splitlines()[0])) from None
    if loading["missing_keys"]:
        names = sorted(loading["missing_keys"])
        raise UserError(_no_clip(folder, f"it lacks {len(names)} weights, {names[0]} among them"))
    return Clip(model)


def _no_clip(folder: Path, reason: str) -> str:
    return f"{folder} holds no CLIP that can be loaded ({reason}): set backbone.name and run `dvc repro`."


def pixel_statistics(folder: Path) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation [3, 1, 1] of the backbone's preprocessor (pixels in 0..1)."""
    try:
        values = json.loads((folder / "preprocessor_config.json").read_text())
    except FileNotFoundError:
        raise UserError(_no_clip(folder, "preprocessor_config.json is missing")) from None
    return (torch.tensor(values["image_mean"]).view(3, 1, 1), torch.tensor(values["image_std"]).view(3, 1, 1))


class Tokeniser:
    """A backbone's tokenizer: captions are cut to the text tower's positions with the end-of-text token kept."""

    def __init__(self, folder: Path):
        from transformers import AutoTokenizer

        config = json.loads((folder / "config.json").read_text())
        text = config.get("text_config") or {}
        self.limit = int(text.get("max_position_embeddings", 77))
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError) as error:
            raise UserError(_no_clip(folder, f"no tokenizer: {str(error).splitlines()[0]}")) from None

    def __call__(self, texts: list[str]) -> Tokens:
        """Token ids of `texts`; the first end-of-text token of a row is where its sentence embedding is read."""
        end = int(self._tokenizer.eos_token_id)
        rows = [list(row) for row in self._tokenizer(texts)["input_ids"]] if texts else []
        cut = sum(len(row) > self.limit for row in rows)
        rows = [row if len(row) <= self.limit else [*row[: self.limit - 1], end] for row in rows]
        length = max(map(len, rows), default=1)
        ids = torch.tensor([row + [end] * (length - len(row)) for row in rows], dtype=torch.int64).view(
            len(rows), length
        )
        eot = (ids == end).int().argmax(dim=1)
        return Tokens(ids, eot, cut)

    def say_cut(self, tokens: Tokens, label: str) -> None:
        """Print how many of the captions were cut, if any."""
        if tokens.cut:
            print(f"{label}: {tokens.cut} captions are longer than the {self.limit} tokens that CLIP reads: cut there.")
