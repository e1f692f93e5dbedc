"""One search: the whole process, as from the shell, and its parts.

`search` uses the project in this folder, if it is trained (`dvc repro`). `gallery` makes a project with a random CLIP
of ViT-B/32's shape, ten tasks and random stored videos.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import chdir
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedTokenizerFast
from transformers.utils import logging

from benchmarks import made, plain
from benchmarks.measuring import Row, in_turn
from benchmarks.similarity import embedded, list_of_words
from structalign.data.tasks import category_ids, key, read_tasks, split_categories, write_tasks
from structalign.errors import UserError
from structalign.formats import INDEX_FORMAT
from structalign.library.chain import last_learned
from structalign.library.project_index import ProjectIndex
from structalign.model.checkpoint import CheckpointConfig, fingerprint, save_checkpoint
from structalign.model.video_text import TextEmbeddings
from structalign.params.ranking import Ranking
from structalign.paths import BACKBONE, CHECKPOINTS, COLLECTION, GALLERIES, MANIFEST, index_of
from structalign.search import familiarity
from structalign.search.index import write_gallery, write_index, write_signals
from structalign.search.signal import observe
from structalign.store import digest, write_json

ROOT = Path(__file__).parents[1]
TASKS, FRAMES, DURATION = 10, 12, 15.0
CLIPS = 4_000_000_000  # so that no clip has the random numbers of `benchmarks.clustered`
SENTENCE = "w7 w11 w13 w17 w19 w23 w29 w31 w37 w41"
RANKING = Ranking(beta=0.5, task_prior=0)
COMMAND = "from structalign.cli.app import main; main()"


def search_command(toy: bool) -> Iterator[Row]:
    """`structalign search` from the shell on the project in this folder."""
    name = "`structalign search` from the shell, the sample"
    try:
        learned = last_learned(read_tasks())
    except UserError as reason:
        yield Row(name, remark=f"not run: {reason}")
        return
    ways = {
        "`import torch`": program("import torch"),
        "ours": program(COMMAND, "search", "a hog moves leftward"),
    }
    yield in_turn(name, ways, 1 if toy else 5, f"after task {learned}")


def gallery(toy: bool) -> Iterator[Row]:
    """A search over 50,000 videos."""
    videos, long, short = (40, 1, 1) if toy else (50_000, 3, 5)
    name = f"search over {videos:,} videos"
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        lay_project(made.size_of(toy), videos)
        checkpoint = CHECKPOINTS / key(TASKS)
        ways = {
            "`import torch`": program("import torch"),
            "ours, start: `structalign.load`": program(f"import structalign; structalign.load('{checkpoint}')"),
            "ours, all of `structalign search`": program(COMMAND, "search", SENTENCE),
        }
        yield in_turn(f"{name}, from the shell", ways, long)
        index = ProjectIndex(Path())
        index._weights = RANKING.weights()
        parts = Parts(index)
        ways = {
            "ours, open: check the stored files": lambda: ProjectIndex(Path()),
            "ours, encode as every task and by zero-shot CLIP": parts.encode,
            "ours, find: score": parts.find,
        }
        yield in_turn(f"{name}, parts", ways, short)
        yield in_turn(f"{name}, find and rank", {"plain": parts.plain, "ours": parts.find_and_rank}, short)


def program(code: str, *arguments: str) -> Callable[[], object]:
    """A Python process that runs `code`."""
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment, command = os.environ | {"PYTHONPATH": paths}, [sys.executable, "-c", code, *arguments]
    return lambda: subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)


class Parts:
    """The parts of a search after the imports."""

    def __init__(self, index: ProjectIndex):
        self.index = index
        self.texts, _ = self.encode()

    @torch.inference_mode()
    def encode(self) -> tuple[dict[int, TextEmbeddings], TextEmbeddings | None]:
        self.index._encoded.recent.clear()
        return self.index._encoded.of(SENTENCE)

    @torch.inference_mode()
    def find(self) -> dict[str, Tensor]:
        return self.index._scorer.matrices(SENTENCE)

    def find_and_rank(self) -> object:
        return self.index.search(SENTENCE)

    @torch.inference_mode()
    def plain(self) -> object:
        """Only the method's words and sentence against each task's videos, standardised, fused and sorted."""
        words, sentence = [], []
        for part in self.index._parts:
            text, frames = self.texts[part.gallery.encoded_as], part.gallery.frames
            words.append(plain.word_frame_by_caption(list_of_words(text.words, text.mask), frames))
            sentence.append(plain.sentence_video(text.sentence, frames))
        both = [torch.cat(blocks, dim=1).numpy() for blocks in (words, sentence)]
        return plain.fused(both[0], both[1], RANKING.beta).argsort(axis=1)


def lay_project(size: made.Size, videos: int) -> None:
    """Write a trained project into this folder, as far as `structalign search` reads it."""
    Path("params.yaml").write_text((ROOT / "params.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    tasks = split_categories([f"category {number}" for number in range(made.ROOM)], TASKS)
    write_tasks(tasks, Path("tasks.yaml"))
    clip = made.random_clip(size)
    lay_backbone(clip.model, size)
    acts = made.settings(size, TASKS, 32, "fp32")
    # a separate CLIP, since adapters would be saved with the backbone
    model, _ = made.model_for(made.random_clip(size), size, "structalign", acts, TASKS, FRAMES)
    for number in range(TASKS + 1):
        learned = dict(list(tasks.items())[:number])
        config = CheckpointConfig("random", "structalign", tasks=list(learned), categories=category_ids(learned))
        if number:
            config = replace(config, model=model.config)
        (folder := CHECKPOINTS / key(number)).mkdir(parents=True)
        save_checkpoint(folder, config, model.adapter_state() if number == TASKS else {}, {})
    write_json(index_of(key(0)), {"format": INDEX_FORMAT, "galleries": []})
    encoder = fingerprint(CHECKPOINTS / key(TASKS))
    for number in range(1, TASKS + 1):
        lay_gallery(number, videos // TASKS, size)
        lay_collection(number, size, encoder)
        write_index(index_of(key(number)), index_of(key(number - 1)), key(number), GALLERIES / key(number), encoder)


def lay_gallery(number: int, videos: int, size: made.Size) -> None:
    """Write random stored videos of task `number`."""
    (folder := GALLERIES / key(number)).mkdir(parents=True)
    source = torch.Generator().manual_seed(CLIPS + number)
    frames, zero_shot = (torch.randn(videos, FRAMES, size.dim, generator=source) for _ in range(2))
    first = made.CATEGORIES * (number - 1)
    row = {"task": key(number), "category": first, "start": 0.0, "duration": DURATION}
    row["times"] = [(frame + 0.5) / FRAMES * DURATION for frame in range(FRAMES)]
    ids = [f"{number}-{video}" for video in range(videos)]
    rows = [{"id": id, "file": f"{id}.mp4"} | row for id in ids]
    write_gallery(folder, "test", rows, F.normalize(frames, dim=-1), zero_shot)
    write_gallery(folder, "val", [], frames, zero_shot)
    (manifest := MANIFEST / key(number)).mkdir(parents=True)
    files = [{"id": id, "sha256": hashlib.sha256(id.encode()).hexdigest()} for id in ids]
    write_json(manifest / "videos.json", {"videos": files})
    captions, _ = embedded(size, made.CATEGORIES, 1, 1)
    write_signals(folder, observe(captions, first + torch.arange(made.CATEGORIES), number))


def lay_collection(number: int, size: made.Size, encoder: str) -> None:
    """Write the collection of task `number`'s training: captions, and no clips."""
    (folder := COLLECTION / key(number)).mkdir(parents=True)
    write_gallery(folder, "train", [], torch.empty(0), torch.empty(0))
    captions, _ = embedded(size, 1000, 1, 1)
    save_file(familiarity.observe(captions, torch.arange(1000)), folder / "captions.safetensors")
    files = {file.name: digest(file) for file in sorted(folder.iterdir())}
    write_json(folder / "index.json", {"encoder": encoder, "files": files})


def lay_backbone(model: torch.nn.Module, size: made.Size) -> None:
    """Write a CLIP's folder. Its tokenizer knows the words w0, w1, …"""
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    model.save_pretrained(BACKBONE)  # type: ignore[operator]
    words = {f"w{number}": number for number in range(size.vocabulary - 2)}
    start, end = ("<start>", size.vocabulary - 2), ("<end>", size.vocabulary - 1)
    tokenizer = Tokenizer(models.WordLevel({**words, start[0]: start[1], end[0]: end[1]}, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start[0]} $A {end[0]}", special_tokens=[start, end]
    )
    fast: Any = PreTrainedTokenizerFast
    fast(tokenizer_object=tokenizer, bos_token=start[0], eos_token=end[0]).save_pretrained(BACKBONE)
    shape = {"size": {"shortest_edge": size.image}, "crop_size": {"height": size.image, "width": size.image}}
    mean, deviation = (values.flatten().tolist() for values in made.STATISTICS)
    write_json(BACKBONE / "preprocessor_config.json", {**shape, "image_mean": mean, "image_std": deviation})
