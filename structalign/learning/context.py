"""The context of one task for the terms of its loss: data, model, settings and constants.

Letters: B pairs of a batch, V videos, N frames, R captions, D embedding.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import zip_longest
from typing import Any, cast

import torch
from torch import Tensor

from structalign.learning.batches import Pairs, balanced, epoch_pairs
from structalign.learning.cuda_graphs import Recorded, record_frames, record_text, recordable
from structalign.learning.distributed import gather_shards
from structalign.learning.memory import Memory, draw_pseudo
from structalign.learning.settings import Settings
from structalign.model.adapters import generator
from structalign.model.backbone import Tokens
from structalign.model.device import autocast, cast_once, send
from structalign.model.features import VideoSource, view_name
from structalign.model.sources import load_batch
from structalign.model.text_encoding import encode_captions, encode_zero_shot
from structalign.model.video_text import TextEmbeddings, VideoText
from structalign.params.losses import Contrastive, Pseudo
from structalign.search.similarity_heads import SimilarityHead

VIDEOS_AT_A_TIME = 8
TABLE_BYTES = 1 << 30  # the largest table that is kept on the device


@dataclass(frozen=True)
class Teacher:
    """Outputs of a frozen model: `frames` [B, N, D] of a batch, and `text` of rows of `tokens`.

    Both are computed once per task, unless they differ at every visit (`TaskContext.teach`).
    """

    frames: Callable[[Pairs], Tensor]
    text: Callable[[Tensor], TextEmbeddings]
    tokens: Tokens


@dataclass
class Batch:
    """One step: its pairs, the embeddings of both modalities, their logits and the losses computed so far.

    frames: [B, N, D] raw. logits: as of `TaskContext.logits`. key: (seed, task, step), for the step's random numbers.
    unweighted: losses by name. addends: the same losses, weighted.
    """

    pairs: Pairs
    text: TextEmbeddings
    frames: Tensor
    logits: list[Tensor]
    key: tuple[str | int, ...]
    unweighted: dict[str, Tensor] = field(default_factory=dict)
    addends: dict[str, Tensor] = field(default_factory=dict)

    @property
    def step(self) -> int:
        """The step's number in the task, from 0."""
        return int(self.key[-1])


Scale = Callable[["TaskContext"], float | Tensor]


class TaskContext:
    """Task `number` (from 1) of a chain.

    state: tensors that a method's callbacks carry from step to step and change in place.
    """

    def __init__(
        self,
        model: VideoText,
        features: VideoSource,
        memory: Memory,
        number: int,
        settings: Settings,
        device: torch.device,
        similarity: SimilarityHead,
        scale: Scale,
    ):
        self.model = model.to(device)
        self.features = features
        self.captions = features.captions()
        self.memory = memory
        self.number = number
        self.settings = settings
        self.device = device
        self.similarity = similarity
        self.scale = scale
        self.adjustment = self._logit_adjustment() if settings[Contrastive].logit_adjustment > 0 else None
        self.teachers: Sequence[Teacher] = []
        self._online_teachers: list[VideoText] = []  # teachers that encode each batch in its step
        self.state: dict[str, Tensor] = {}
        self._read: tuple[Pairs, Tensor, Tensor] | None = None
        # a stream for loading, beside that of the steps
        self._reader: Any = cast(Any, torch.cuda.Stream)(device) if device.type == "cuda" else None
        self._recorded_frames: dict[int, Recorded] = {}  # by the id of the model
        self._recorded_text: Recorded | None = None
        self._frozen_text: TextEmbeddings | None = None
        if model.text_map is not None and model.config.words == "strict":
            self._frozen_text = self.frozen_captions()

    @cached_property
    def vertices(self) -> Tensor:
        """[capacity, d], the memory's ETF vertices on the device."""
        return send(self.memory.vertices, self.device)

    def epoch(self, epoch: int) -> Pairs:
        """The pairs of an epoch (from 0) in their order."""
        how = self.settings.shared.epoch
        key = (self.settings.seed, self.number, epoch)
        pairs = epoch_pairs(self.captions, len(self.features), self.features.views, how, *key)
        if self.settings.shared.sampling == "balanced":
            return balanced(pairs, self.captions, self.features.views, *key)
        return pairs

    def _logit_adjustment(self) -> Tensor:
        """`contrastive.logit_adjustment` times the log of each category's share of an epoch's pairs, by id."""
        count = torch.bincount(self.captions.category[self.epoch(0).caption])
        return self.settings[Contrastive].logit_adjustment * (count / count.sum()).log()

    def frozen_captions(self) -> TextEmbeddings:
        """All captions by zero-shot CLIP. A model that only maps embeddings computes them once, before its steps."""
        if self._frozen_text is not None:
            return self._frozen_text
        return encode_zero_shot(self.model.clip, self.model, self.captions.tokens, self.device)

    @torch.no_grad()
    def encode_videos(self, view: str) -> Tensor:
        """[V, N, D] raw frame embeddings of the current model, in float32, on the CPU."""
        rows = torch.split(torch.arange(len(self.features)), VIDEOS_AT_A_TIME)
        states = (torch.stack([self.features.read(i, view) for i in part.tolist()]) for part in rows)
        return torch.cat([self.model.encode_frames(state.to(self.device)).cpu() for state in states])

    def teach(self, task: int, tokens: Tokens | None = None) -> Teacher:
        """The current model as a teacher for all views, and for `tokens` (None: the captions) routed as `task`.

        If each visit gets a new crop, or if padding counts as words, a copy of the model computes each batch.
        """
        self.model.eval()
        tokens = self.captions.tokens if tokens is None else tokens
        once = self.features.views and self.model.config.words == "strict"
        model = self.model if once else self.model.frozen_copy()
        self._online_teachers += [] if self.features.views else [model]
        return Teacher(self._seen_by(model), self._read_by(model, tokens, task), tokens)

    def _seen_by(self, model: VideoText) -> Callable[[Pairs], Tensor]:
        if self.features.views:
            views = torch.stack([self.encode_videos(view_name(view)) for view in range(self.features.views)])
            kept = self.table(views)
            return lambda pairs: self.rows_of(kept, pairs.view, pairs.video)

        @torch.no_grad()
        def see(pairs: Pairs) -> Tensor:
            states, inverse = self.read(pairs)
            return self._frames_of(states, model)[inverse]

        return see

    def _read_by(self, model: VideoText, tokens: Tokens, task: int) -> Callable[[Tensor], TextEmbeddings]:
        if model.config.words == "strict":
            known = encode_captions(model, tokens, task, self.device)
            kept = TextEmbeddings(*map(self.table, (known.words, known.mask, known.sentence)))
            return lambda rows: TextEmbeddings(
                *(self.rows_of(table, rows) for table in (kept.words, kept.mask, kept.sentence))
            )

        @torch.no_grad()
        def encode(rows: Tensor) -> TextEmbeddings:
            tasks = torch.full((len(rows),), task)
            return model.encode_text(tokens[rows].to(self.device), tasks)

        return encode

    def table(self, x: Tensor) -> Tensor:
        """Move `x` to the device if it has at most `TABLE_BYTES`. Steps take rows of it."""
        return send(x, self.device) if x.nbytes <= TABLE_BYTES else x

    def rows_of(self, table: Tensor, *index: Tensor) -> Tensor:
        """Rows of `table`, on the device. index: one tensor [B] per indexed dimension, on the CPU."""
        return send(table[tuple(send(i, table.device) for i in index)], self.device)

    def read(self, pairs: Pairs) -> tuple[Tensor, Tensor]:
        """The distinct views of a batch as model inputs, and the index [B] of each pair's view among them.

        The last batch is kept, since student and teacher read the same one.
        """
        if self._read is None or self._read[0] is not pairs:
            self._let_reader_begin()
            self._read = pairs, *self._load(pairs)()
        return self._read[1:]

    def reading_ahead(self, plan: Sequence[Pairs]) -> Iterator[Pairs]:
        """The batches of `plan`. Another thread reads each batch while the model learns the one before."""
        self._let_reader_begin()
        with ThreadPoolExecutor(1) as reader:
            pending = [reader.submit(self._load, pairs) for pairs in plan[:1]]
            for pairs, following in zip_longest(plan, plan[1:]):
                arrive = pending.pop().result()
                if following is not None:
                    pending.append(reader.submit(self._load, following))
                self._read = pairs, *arrive()
                yield pairs

    def _let_reader_begin(self) -> None:
        """Make the reader's stream wait for the device's current work, so that all weights are in place."""
        if self._reader is not None:
            self._reader.wait_stream(torch.cuda.current_stream(self.device))

    def _load(self, pairs: Pairs) -> Callable[[], tuple[Tensor, Tensor]]:
        """Begin to load a batch. The returned function hands it over to the stream of the steps."""
        if self._reader is None:
            loaded = self._views(pairs)
            return lambda: loaded
        with torch.cuda.stream(self._reader):
            found = self._views(pairs)
            loading = self._reader.record_event()

        def arrive() -> tuple[Tensor, Tensor]:
            steps = torch.cuda.current_stream(self.device)
            steps.wait_event(loading)
            for x in found:
                x.record_stream(steps)  # otherwise its memory would be reused once the reader is done
            return found

        return arrive

    def _views(self, pairs: Pairs) -> tuple[Tensor, Tensor]:
        distinct, inverse = torch.unique(torch.stack([pairs.video, pairs.view]), dim=1, return_inverse=True)
        states = load_batch(self.features, [(int(v), view_name(int(w))) for v, w in distinct.T])
        there = send(states, self.device)
        # float16 states are sent as float16
        return there.float() if there.dtype == torch.float16 else there, send(inverse, self.device)

    def embed(self, pairs: Pairs) -> tuple[TextEmbeddings, Tensor]:
        """Text embeddings [B, ...] and raw frame embeddings [B, N, D].

        Each distinct view is encoded once, by one of the processes that train the task.
        """
        states, inverse = self.read(pairs)
        (frames,) = gather_shards(len(states), lambda rows: [self._frames_of(states[rows], self.model)])
        frames = frames[inverse]
        if self._frozen_text is not None:
            return self.model.map_text(self._frozen_text[pairs.caption].trimmed().to(self.device)), frames
        tokens = self.captions.tokens[pairs.caption]

        def embed_text(rows: slice) -> list[Tensor]:
            text = self._text_of(Tokens(tokens.ids[rows], tokens.eot[rows]))
            return [text.words, text.mask.to(text.words.dtype), text.sentence]

        words, mask, sentence = gather_shards(len(tokens.eot), embed_text)
        return TextEmbeddings(words, mask > 0, sentence), frames

    def embed_frames(self, states: Tensor, model: VideoText | None = None) -> Tensor:
        """Model inputs [B, N, ...] -> frame embeddings [B, N, D] with gradients, by this model or by `model`.

        The result has the dtype of the input. The precision of the towers does not change it.
        """
        with autocast(self.device, self.settings.backbone.precision):
            return (model or self.model).encode_frames(send(states, self.device)).to(states.dtype)

    def embed_text(self, tokens: Tokens, tasks: Tensor | None = None) -> TextEmbeddings:
        """Encode captions with gradients, routed as `tasks` [R]. The default is this task."""
        if tasks is None:
            tasks = torch.full((len(tokens.eot),), self.number)
        return self.model.encode_text(tokens.to(self.device), tasks)

    def record(self, pairs: Pairs) -> None:
        """Record the towers as CUDA graphs for batches like this one. Teachers that encode each batch are recorded too.

        The backward pass of a recording belongs to its last call. Only `embed` calls the model's, once per step.
        """
        if not recordable(self.model):
            return
        rows, precision = self.settings.shared.batch, self.settings.backbone.precision
        states, _ = self.read(pairs)
        for model in [self.model, *self._online_teachers]:
            self._recorded_frames[id(model)] = record_frames(model, states, precision, rows)
        if self._frozen_text is None and self.model.config.words == "strict" and len(pairs.caption) == rows:
            every = self.captions.tokens
            tokens, longest = every[pairs.caption].to(self.device), int(every.eot.max()) + 1
            self._recorded_text = record_text(self.model, tokens, self.number, longest)

    @contextmanager
    def frozen_cast_once(self) -> Iterator[None]:
        """A block of steps, in which vision weights that do not learn are cast once for all of them (`cast_once`).

        Without a tower in its steps, a method may read embeddings that CLIP computes in float32.
        """
        towers = self.model.config.input_kind != "embeddings"
        models = [self.model, *self._online_teachers] if towers else []
        # by their id, since teachers share the backbone
        frozen = {id(p): p for model in models for p in model.clip.vision_products() if not p.requires_grad}
        try:
            with cast_once(frozen.values(), self.settings.backbone.precision):
                yield
        finally:
            self._recorded_frames.clear()  # they read the cast weights

    def _frames_of(self, states: Tensor, model: VideoText) -> Tensor:
        """`embed_frames`, by the recording if the model has one."""
        recorded = self._recorded_frames.get(id(model))
        return self.embed_frames(states, model) if recorded is None else recorded(states)

    def _text_of(self, tokens: Tokens) -> TextEmbeddings:
        """`embed_text`, by the recording for a full batch. Padding a partial one would add to the experts' counts."""
        if self._recorded_text is None or len(tokens.eot) < self.settings.shared.batch:
            return self.embed_text(tokens)
        tokens = tokens.to(self.device)
        return self.model.text_of(tokens, self._recorded_text(tokens))

    def temperature(self) -> float | Tensor:
        """The factor that turns similarities into logits."""
        return self.scale(self)

    def video_ids(self, video: Tensor) -> Tensor:
        """Ids [B] of the pairs' videos. Captions of one video are not negatives of each other.

        If `contrastive.mask_duplicates` is off, all ids are different.
        """
        known = video if self.settings[Contrastive].mask_duplicates else torch.arange(len(video))
        return send(known, self.device)

    def draw(self, count: int, purpose: str, *key: str | int) -> tuple[Tensor, Tensor, Tensor]:
        """`count` pseudo pairs of old categories: text and video [count, D], category [count]."""
        source = generator("draw", purpose, *key)
        text, video, category = draw_pseudo(self.memory, count, source, self.settings[Pseudo].covariance)
        return send(text, self.device), send(video, self.device), send(category, self.device)

    def logits(self, text: TextEmbeddings, frames: Tensor) -> list[Tensor]:
        """[B, B'] logits of each similarity that is trained (`SimilarityHead.trained`).

        Sentence similarity is trained beside word-frame similarity if `contrastive.sentence_weight` is above 0.
        """
        scale, both = self.temperature(), self.settings[Contrastive].sentence_weight > 0
        return [scale * kind for kind in self.similarity.trained(self.model, text, frames, both)]

    def add_sentence_loss(self, values: list[Tensor]) -> Tensor:
        """A loss on the first similarity plus `contrastive.sentence_weight` times that on the second."""
        total = values[0]
        for value in values[1:]:
            total = total + self.settings[Contrastive].sentence_weight * value
        return total
