"""Training steps of a task: unweighted and weighted losses, gradients before and after clipping, and the new state.

Letters: B pairs of a batch, N frames, S image size, D embedding, E experts, C categories, d ETF space, t the task.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from structalign.errors import UserError
from structalign.learning.batches import Pairs
from structalign.learning.context import Batch, TaskContext, Teacher
from structalign.learning.distillation import pretrained_clip
from structalign.learning.loading import load_method
from structalign.learning.memory import Memory
from structalign.learning.method import Method
from structalign.learning.reference.settings import TaskSettings
from structalign.learning.reference.towers import ReferenceModel, refuse_pixels, refuse_tasks
from structalign.learning.trainer import Trainer
from structalign.model.backbone import Tokens
from structalign.model.features import CENTRE, Captions
from structalign.model.released_names import State, released_name, to_released
from structalign.model.video_text import TextEmbeddings, VideoText
from structalign.text import plural

CPU = torch.device("cpu")
PseudoPairs = tuple[Tensor, Tensor, Tensor]  # text and video [n, D], category [n]


@dataclass(frozen=True)
class Step:
    """One batch. pixels: [B, N, 3, S, S]; tokens: B captions; video: [B] ids; category: [B], rows of the vertices.

    etf_pseudo, pseudo: the pairs drawn for L_ETF and for L_pseudo, from task 2 on. noise: gives standard normals of the
    shape of a projection's router logits [B, E]. It is called in the order in which CLIP calls its projections. Its
    default and dropout draw from torch's global generator.
    """

    pixels: Tensor
    tokens: Tokens
    video: Tensor
    category: Tensor
    etf_pseudo: PseudoPairs | None = None
    pseudo: PseudoPairs | None = None
    noise: Callable[[Tensor], Tensor] = torch.randn_like


@dataclass(frozen=True)
class Training:
    """The first `len(steps)` of the `updates` steps of a task.

    teacher: the state dict of L_CRP's frozen teacher, routed as task t - 1, or None for zero-shot CLIP. It replaces
    `crp.teacher`. Its logits are scaled by the student's temperature. rates: learning rates by group
    (`VideoText.groups`), which replace those of the settings. remembered: tensors that the method remembers of past
    tasks, by name (see its file in `learning.methods`).
    """

    settings: TaskSettings
    steps: Sequence[Step]
    updates: int
    teacher: State | None
    rates: Mapping[str, float] = field(default_factory=dict)
    remembered: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class StepResult:
    """The losses of one step by name, unweighted and weighted. `loss` is the sum of the weighted ones.

    grad_norm, clipped_norm: the global norm of the gradients before and after clipping.
    """

    unweighted: dict[str, float]
    weighted: dict[str, float]
    loss: float
    grad_norm: float
    clipped_norm: float


@dataclass(frozen=True)
class Trained:
    """state: after the steps. gradients, clipped_gradients: of the last step, by released name.

    For the gradients of an earlier step, give fewer steps.
    """

    state: dict[str, Tensor]
    steps: list[StepResult]
    gradients: dict[str, Tensor]
    clipped_gradients: dict[str, Tensor]


def train(model: ReferenceModel, training: Training) -> Trained:
    """Train on the steps, from the model's state, which includes its temperature.

    At the start of task t, the state must have task prototype t. At the start of task 2, the first expert must have
    been copied into the others. Raises `UserError` for methods with modules other than frame fusion and the LoRA
    mixture, since these have no released names.
    """
    built, kept = model.build()
    method = _with_teacher(load_method(training.settings.method), model, training)
    _refuse_training(built, model, method, training)
    trainer = _Trainer(built, method, training)
    optimizer, first, results = trainer.start(), 0, []
    for group in optimizer.param_groups:
        group["initial_lr"] = training.rates.get(group["name"], group["initial_lr"])
    for k, step in enumerate(training.steps):
        own = torch.arange(first, first + len(step.video))
        first += len(step.video)
        results.append(trainer.take(optimizer, k, training.updates, Pairs(own, step.video, own)))
    names = {name: released_name(name, built.config.vision_frozen) for name, _ in built.named_parameters()}
    unclipped = {names[name]: gradient for name, gradient in trainer.unclipped.items()}
    return Trained(to_released(built, kept), results, unclipped, {names[n]: g for n, g in _gradients(built).items()})


class _Videos:
    """The videos of all steps. A view's number is the row of its pair among all pairs."""

    views = 0

    def __init__(self, model: VideoText, steps: Sequence[Step]):
        self.model, self.pixels = model, torch.cat([step.pixels for step in steps])
        length = max(step.tokens.ids.shape[1] for step in steps)
        # columns beyond a batch's own are cut off again when it is read
        ids = torch.cat([F.pad(x.tokens.ids, (0, length - x.tokens.ids.shape[1])) for x in steps])
        tokens = Tokens(ids, torch.cat([step.tokens.eot for step in steps]))
        category = torch.cat([step.category for step in steps])
        self._captions = Captions(tokens, torch.cat([step.video for step in steps]), category)

    def __len__(self) -> int:
        return len(self.pixels)

    def read(self, video: int, view: str = CENTRE) -> Tensor:
        return self.model.inputs(self.pixels[int(view.removeprefix("view"))])

    def captions(self) -> Captions:
        return self._captions


class _Remembered(dict[str, Tensor]):
    def __missing__(self, name: str) -> Tensor:
        raise UserError(f"the method needs `{name}` of past tasks: give it in `Training.remembered`.")


class _Trainer(Trainer):
    """The training loop with given pseudo-features. It keeps losses and gradients for the result."""

    batch: Batch
    unclipped: dict[str, Tensor]
    clipped_norm: float

    def __init__(self, model: VideoText, method: Method, training: Training):
        self.steps = training.steps
        number = training.settings.number
        old = torch.zeros(int(number > 1), model.clip.embedding_dim)
        memory = Memory(vertices=training.settings.vertices, text_mean=old, extra=_Remembered(training.remembered))
        videos = _Videos(model, training.steps)
        super().__init__(model, method, videos, memory, number, training.settings.settings, CPU)

    def take(self, optimizer: torch.optim.Optimizer, k: int, updates: int, pairs: Pairs) -> StepResult:
        """Step `k` of `updates`."""
        self.model.routing.noise = self.steps[k].noise
        factor = self.method.rate(k, updates, self.settings.phase.warmup)
        row = self.step(optimizer, factor, pairs, self.settings.seed, self.number, k)
        unweighted = {name: loss.item() for name, loss in self.batch.unweighted.items()}
        weighted = {name: row[name] for name in unweighted}
        return StepResult(unweighted, weighted, row["loss"], row["grad_norm"], self.clipped_norm)

    def forward(self, pairs: Pairs, *key: str | int) -> Batch:
        self.batch = super().forward(pairs, *key)
        return self.batch

    def clip(self, learning: list[nn.Parameter]) -> Tensor:
        self.unclipped = _gradients(self.model)
        norm = super().clip(learning)
        self.clipped_norm = torch.nn.utils.get_total_norm([p.grad for p in learning if p.grad is not None]).item()
        return norm

    def draw(self, count: int, purpose: str, *key: str | int) -> PseudoPairs:
        step = self.steps[int(key[-1])]
        given = step.etf_pseudo if purpose == "etf" else step.pseudo
        if given is None:
            name = "etf_pseudo" if purpose == "etf" else "pseudo"
            raise UserError(f"step {key[-1]} lacks `{name}`: give the pairs, or set `pseudo.weight` = 0.")
        return given


def _gradients(model: VideoText) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def _with_teacher(method: Method, model: ReferenceModel, training: Training) -> Method:
    """The method with the given teacher instead of its default."""

    def teach(task: TaskContext) -> list[Teacher]:
        if training.teacher is None:
            return pretrained_clip(task)
        teacher, _ = replace(model, state=training.teacher).build()
        routed = max(1, task.number - 1)
        refuse_tasks(teacher, [routed], "the teacher's state dict")
        videos, tokens = _Videos(teacher, training.steps), task.captions.tokens

        @torch.no_grad()
        def frames(pairs: Pairs) -> Tensor:
            states = [videos.read(0, str(view)) for view in pairs.view.tolist()]
            return task.embed_frames(torch.stack(states), teacher)

        @torch.no_grad()
        def text(rows: Tensor) -> TextEmbeddings:
            return teacher.encode_text(tokens[rows], torch.full((len(rows),), routed))

        return [Teacher(frames, text, tokens)]

    terms = [term if term.teachers is None else replace(term, teachers=teach) for term in method.terms]
    return replace(method, terms=tuple(terms))


def _refuse_training(built: VideoText, model: ReferenceModel, method: Method, training: Training) -> None:
    chosen, steps = training.settings, training.steps
    if not method.trains or set(method.modules) != {"fusion", "lora"}:
        raise UserError(f"`{chosen.method}` has no parameters with released names: choose a method that has.")
    if chosen.model_config != model.model_config:
        raise UserError("the model and the settings have different model configs: build the model with the settings'.")
    refuse_tasks(built, [chosen.number], "the state dict")
    if not 1 <= len(steps) <= training.updates:
        raise UserError(f"{plural(len(steps), 'step')} of {training.updates} updates: give from 1 to all of them.")
    if chosen.vertices.ndim != 2 or chosen.vertices.shape[1] != built.config.etf_dim:
        raise UserError(f"the vertices must be [C, {built.config.etf_dim}], not {list(chosen.vertices.shape)}.")
    for k, step in enumerate(steps):
        refuse_pixels(built, step.pixels)
        lengths = {len(x) for x in (step.pixels, step.tokens.eot, step.tokens.ids, step.video, step.category)}
        if len(lengths) > 1:
            raise UserError(
                f"step {k} must have equally many videos, captions, ids and categories, not {sorted(lengths)}."
            )
        if not 0 <= int(step.category.min()) <= int(step.category.max()) < len(chosen.vertices):
            raise UserError(f"step {k} has categories without a vertex: there are {len(chosen.vertices)}, from 0.")
    if unknown := sorted(training.rates.keys() - set(method.trains)):
        raise UserError(f"`{unknown[0]}` is not a group of {chosen.method}: choose from {', '.join(method.trains)}.")
    for name, rate in training.rates.items():
        if not (math.isfinite(rate) and rate >= 0):
            raise UserError(f"the rate of `{name}` must be a number, at least 0, not {rate}.")
