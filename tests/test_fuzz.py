"""Random damage to every kind of file that is read, with a fixed seed.

A reader gives a value or its documented error, and a command one sentence, within 2 s and 1 GiB.
"""

import json
import os
import pickle
import random
import resource
import struct
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from codemap import ROOT
from safetensors.torch import save_file

from structalign.console import run
from structalign.data.captions import read_captions as read_table
from structalign.data.importers.activitynet import _segments
from structalign.data.importers.msrvtt import _csv_captions, _sentences
from structalign.data.importers.split_files import read_split
from structalign.data.manifest import read_videos
from structalign.data.shards import Shards
from structalign.data.tasks import read_tasks, split_categories, write_tasks
from structalign.errors import UserError
from structalign.formats import INDEX_FORMAT
from structalign.model.checkpoint import load_memory, read_config
from structalign.model.features import Features, load_tensor
from structalign.model.features import read_captions as read_tokens
from structalign.params.schema import validate
from structalign.preprocessing import read_statistics
from structalign.search.index import newest_encoder
from structalign.store import write_json
from structalign.strict_yaml import load_yaml

EACH = 300  # inputs of a reader
SECONDS = 2.0  # processor time of one input
MEMORY = 2**30  # bytes, beyond what the process holds already
COMMANDS = 20  # inputs of a command
SENTENCE = 700  # characters

TOKENS = [
    *(
        b"\x00",
        b"\xff\xfe",
        b"\xef\xbb\xbf",
        b"\x1b[2J",
        b"\xe2\x80\xae",
        b"\xc3",
        b"\r",
        b"\n",
        b"\t",
        b'"',
        b"'",
        b",",
    ),
    *(
        b"-1",
        b"0",
        b"010",
        b"1e999",
        b"nan",
        b"9" * 30,
        b"9" * 6000,
        b"1:30",
        b"yes",
        b"null",
        b"[]",
        b"{}",
        b"[" * 500,
    ),
    *(b"&a [*a]", b"*a", b"!!python/object/apply:os.system [id]", b"${x}", b"---\n", b"<<: *a", b"? ", b"#", b"| "),
    *(b"/etc/passwd", b"../../x", b"<|endoftext|>", b"\xf0\x9f\x98\x80", b"a" * 5000),
]


@dataclass(frozen=True)
class Reader:
    """A reader. `make` writes a valid input below a folder, and `file` is damaged."""

    file: str
    make: Callable[[Path], object]
    read: Callable[[Path], object]


def make_table(folder: Path) -> None:
    rows = [
        f"{kind[-3:-1]}{n}.mp4,a dog that runs {n},{kind},{split},{n},{n + 1}"
        for kind in ("dogs", '"cats, all"')
        for n, split in enumerate(("train", "val", "test"))
    ]
    (folder / "captions.csv").write_text("\n".join(["video,caption,category,split,start,end", *rows]))


def make_split(folder: Path) -> None:
    tree = {part: {1: {"dogs": [f"{part}1", f"{part}2"]}, 2: {"cats": [f"{part}3"]}} for part in ("train", "val")}
    (folder / "split.pkl").write_bytes(pickle.dumps(tree, protocol=2))


def make_tensors(file: Path) -> None:
    tensors = {"ids": torch.arange(24).view(4, 6), "eot": torch.arange(4), "video": torch.arange(4)}
    save_file({**tensors, "category": torch.zeros(4, dtype=torch.long), "states": torch.rand(2, 3, 4)}, file)


def make_checkpoint(folder: Path) -> None:
    write_json(folder / "config.json", {"format": 2, "backbone": "b", "tasks": ["t01"], "categories": {"dogs": 0}})
    make_tensors(folder / "memory.safetensors")


def make_shards(folder: Path) -> None:
    from structalign.data.shards import write_shards

    frames = torch.zeros(2, 3, 3, 3, dtype=torch.uint8).numpy()
    write_shards(folder / "shards", [({"id": "a"}, frames[0]), ({"id": "b"}, frames[1])])


def make_videos(folder: Path) -> None:
    about = {"file": "a.mp4", "sha256": "0" * 64, "split": "train", "category": 0, "start": 0.5, "end": None}
    write_json(folder / "t01/videos.json", {"videos": [{"id": f"{n}.mp4", **about} for n in range(3)]})


def make_index(folder: Path) -> None:
    entry = {"task": "t01", "folder": "work/gallery/t01", "files": {"a": "0" * 64}, "encoder": "e"}
    write_json(folder / "index.json", {"format": INDEX_FORMAT, "galleries": [entry, entry]})


def make_features(folder: Path) -> None:
    write_json(folder / "index.json", {"videos": [{"id": "a", "width": 3}], "views": 1, "cut": 0})


def make_annotations(folder: Path) -> None:
    about = {"timestamps": [[0.5, 2.5], [3, 4]], "sentences": ["a dog", "a cat"], "duration": 9.5}
    (folder / "train.json").write_text(json.dumps({f"v_{n}": about for n in range(4)}))


def make_clip(folder: Path) -> None:
    write_json(folder / "config.json", {"model_type": "clip", "vision_config": {"image_size": 224}})
    sides, numbers = {"height": 224, "width": 224}, {"image_mean": [0.5, 0.4, 0.5], "image_std": [0.2, 0.3, 0.2]}
    values = {"do_resize": True, "size": {"shortest_edge": 224}, "crop_size": sides, "rescale_factor": 1 / 255}
    write_json(folder / "preprocessor_config.json", values | numbers)


def make_sentences(folder: Path) -> None:
    rows = [{"video_id": f"video{n}", "caption": f"a dog runs {n}", "sen_id": n} for n in range(4)]
    (folder / "train.json").write_text(json.dumps({"videos": [], "sentences": rows}))


READERS: dict[str, Reader] = {
    "a captions table": Reader("captions.csv", make_table, read_table),
    "params.yaml": Reader(
        "params.yaml",
        lambda folder: (folder / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes()),
        lambda folder: validate(load_yaml(folder / "params.yaml"), str(folder / "params.yaml")),
    ),
    "tasks.yaml": Reader(
        "tasks.yaml",
        lambda folder: write_tasks(split_categories(["dogs", "cats", "a b", "é"], 2), folder / "tasks.yaml"),
        lambda folder: read_tasks(folder / "tasks.yaml"),
    ),
    "a split pickle": Reader("split.pkl", make_split, lambda folder: read_split(folder / "split.pkl")),
    "ActivityNet's captions": Reader("train.json", make_annotations, lambda folder: _segments(folder / "train.json")),
    "MSR-VTT's captions": Reader("train.json", make_sentences, lambda folder: _sentences(folder / "train.json")),
    "MSR-VTT's test captions": Reader(
        "test.csv",
        lambda folder: (folder / "test.csv").write_text(
            'key,video_id,sentence\nret0,v1,a dog, a cat\nret1,v2,"a, b"\n'
        ),
        lambda folder: _csv_captions(folder / "test.csv"),
    ),
    "a CLIP's preprocessing": Reader("preprocessor_config.json", make_clip, read_statistics),
    "a tensor of features": Reader(
        "centre.safetensors",
        lambda folder: make_tensors(folder / "centre.safetensors"),
        lambda folder: load_tensor(folder / "centre.safetensors", "states"),
    ),
    "captions as tokens": Reader(
        "captions.safetensors", lambda folder: make_tensors(folder / "captions.safetensors"), read_tokens
    ),
    "a checkpoint's memory": Reader("memory.safetensors", make_checkpoint, load_memory),
    "a shard of frames": Reader(
        "shards/000.safetensors", make_shards, lambda folder: Shards(folder / "shards").array(1)
    ),
    "a checkpoint's config": Reader("config.json", make_checkpoint, read_config),
    "a list of videos": Reader("t01/videos.json", make_videos, lambda folder: read_videos("t01", folder)),
    "an index of galleries": Reader("index.json", make_index, lambda folder: newest_encoder(folder / "index.json")),
    "an index of features": Reader("index.json", make_features, Features),
    "an index of frames": Reader("shards/index.json", make_shards, lambda folder: Shards(folder / "shards").rows),
}


def damage(data: bytes, dice: random.Random) -> bytes:
    """Apply one to three changes: to bits, parts, lines, or words that are hard to read."""
    for _ in range(dice.choice((1, 1, 2, 3))):
        data = dice.choice(CHANGES)(data, dice)
    return data


def flip_bits(data: bytes, dice: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(dice.choice((1, 3, 20))):
        if changed:
            changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
    return bytes(changed)


def cut(data: bytes, dice: random.Random) -> bytes:
    return data[: dice.randrange(len(data) + 1)]


def take_out(data: bytes, dice: random.Random) -> bytes:
    begin = dice.randrange(len(data) + 1)
    return data[:begin] + data[begin + dice.choice((1, 8, 60)) :]


def insert(data: bytes, dice: random.Random) -> bytes:
    begin = dice.randrange(len(data) + 1)
    return data[:begin] + dice.choice(TOKENS) + data[begin:]


def exchange_word(data: bytes, dice: random.Random) -> bytes:
    """Replace a word or number by another one, or by a token."""
    words = data.split(b" ")
    words[dice.randrange(len(words))] = dice.choice([*words, *TOKENS])
    return b" ".join(words)


def exchange_line(data: bytes, dice: random.Random) -> bytes:
    lines = data.split(b"\n")
    lines[dice.randrange(len(lines))] = dice.choice(lines)
    return b"\n".join(lines)


def repeat(data: bytes, dice: random.Random) -> bytes:
    begin = dice.randrange(len(data) + 1)
    return data[:begin] + data[begin : begin + 200] * dice.choice((1, 3, 50)) + data[begin:]


def grow_number(data: bytes, dice: random.Random) -> bytes:
    """Replace a number by an extreme one, as text or as the first eight bytes of a safetensors file."""
    if dice.random() < 0.3:
        return struct.pack("<Q", dice.choice((0, 1, 2**31, 2**63, 2**64 - 1, len(data)))) + data[8:]
    places = [n for n, byte in enumerate(data) if 48 <= byte < 58]
    if not places:
        return data
    place = dice.choice(places)
    return data[:place] + dice.choice((b"-1", b"99999999999", b"0.5", b"1e400", b"null", b'"x"')) + data[place + 1 :]


CHANGES = (flip_bits, cut, take_out, insert, exchange_word, exchange_line, repeat, grow_number)


def inputs(name: str, whole: bytes, count: int) -> list[bytes]:
    return [damage(whole, random.Random(f"{name} {number}")) for number in range(count)]


def in_child(work: Callable[[], object], log: Path) -> Any:
    """The result of `work` in a fork with at most 1 GiB more memory than this process. None if the fork died."""
    child = os.fork()
    if child == 0:
        try:
            held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY, held + MEMORY))
            log.write_text(json.dumps(work()))
        except BaseException:
            log.write_text(json.dumps([traceback.format_exc()]))
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    return json.loads(log.read_text()) if log.exists() else None


def complaint(reader: Reader, folder: Path, text: bytes) -> str:
    """The problem with a reader's outcome. "refused" and "read" are correct."""
    (folder / reader.file).write_bytes(text)
    begun = time.process_time()
    try:
        reader.read(folder)
        outcome = "read"
    except UserError as error:
        outcome = "refused" if is_sentence(str(error), reader.file) else f"no sentence: {str(error)!r}"
    except BaseException:
        outcome = traceback.format_exc(limit=-3)
    return outcome if time.process_time() - begun < SECONDS else f"too slow, then {outcome}"


def is_sentence(text: str, file: str = "") -> bool:
    """Whether an error names the file, has few lines and ends properly. It may end in the number of further errors."""
    return file in text and "\n" not in text and text.endswith((".", "lists all)")) and len(text) < SENTENCE


@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_is_read_or_refused_in_one_sentence(tmp_path: Path, name: str) -> None:
    reader, folder = READERS[name], tmp_path / "whole"
    folder.mkdir()
    reader.make(folder)
    whole = (folder / reader.file).read_bytes()
    assert complaint(reader, folder, whole) == "read"
    damaged = inputs(name, whole, EACH)
    outcomes = in_child(lambda: [complaint(reader, folder, text) for text in damaged], tmp_path / "log")
    assert outcomes is not None, "the reader's process died"
    wrong = {number: said for number, said in enumerate(outcomes) if said not in ("read", "refused")}
    assert not wrong, f"{len(wrong)} inputs, as number {min(wrong)}: {wrong[min(wrong)]}\n{damaged[min(wrong)][:300]!r}"
    assert outcomes.count("refused") > EACH / 10


@dataclass(frozen=True)
class Command:
    """A command and the damaged file that it reads."""

    reader: str
    words: Callable[[Path], list[str]]


COMMANDS_OF: dict[str, Command] = {
    "structalign init": Command("a captions table", lambda folder: ["init", str(folder), "--tasks", "1"]),
    "structalign task add": Command("tasks.yaml", lambda folder: ["task", "add", "dogs"]),
    "structalign params": Command("params.yaml", lambda folder: ["data", "check"]),
    "structalign import": Command(
        "a split pickle",
        lambda folder: [
            *("import", "msrvtt", "--splits", str(folder / "split.pkl"), "--videos", str(folder)),
            *("--annotations", str(folder / "none.json"), "--test-captions", str(folder / "none.csv")),
        ],
    ),
}


def spoken(words: list[str], folder: Path, log: Path) -> list[object]:
    """Exit code and standard error of `structalign` in this process, a fork."""
    os.chdir(folder)
    stream = log.open("w+")
    sys.argv, sys.stderr, sys.stdout = ["structalign", *words], stream, stream
    from structalign.cli.app import app

    code: object = 0
    try:
        run(app)
    except SystemExit as stop:
        code = stop.code
    stream.flush()
    return [code, log.read_text()]


@pytest.mark.parametrize("name", COMMANDS_OF)
def test_a_command_reports_a_damaged_file_in_one_sentence(tmp_path: Path, name: str) -> None:
    command = COMMANDS_OF[name]
    reader, folder = READERS[command.reader], tmp_path / "whole"
    folder.mkdir()
    (folder / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    reader.make(folder)
    whole = (folder / reader.file).read_bytes()
    refused = [text for text in inputs(name, whole, EACH) if complaint(reader, folder, text) == "refused"][:COMMANDS]
    assert refused
    for number, text in enumerate(refused):
        (folder / reader.file).write_bytes(text)
        log = tmp_path / f"{number}.log"
        code, said = in_child(partial(spoken, command.words(folder), folder, log), tmp_path / f"{number}.json")
        assert code == 1, said
        assert said.startswith("error: "), said
        assert is_sentence(said.strip()), said
        assert said.strip().isprintable(), said
