"""Each row is a fault that is tried. This module writes the results into docs/faults.md.

python tests/test_faults.py     # after a message changed: writes docs/faults.md again
"""

import json
import os
import pickle
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from codemap import ROOT
from safetensors.torch import save_file

from structalign.data.captions import read_captions
from structalign.data.importers.activitynet import _segments
from structalign.data.importers.msrvtt import _csv_captions
from structalign.data.importers.split_files import read_split
from structalign.data.manifest import read_videos
from structalign.data.shards import Shards, write_shards
from structalign.data.tasks import read_tasks, split_categories, write_tasks
from structalign.doctor.locks import RWLOCKS, locks
from structalign.doctor.results import half_written
from structalign.doctor.tracked import unreadable
from structalign.errors import UserError
from structalign.formats import INDEX_FORMAT
from structalign.model.checkpoint import load_memory, read_config
from structalign.model.features import Features, load_tensor
from structalign.params.schema import validate
from structalign.preprocessing import read_statistics
from structalign.search.index import Index
from structalign.store import read_json, write_json
from structalign.strict_yaml import load_yaml
from structalign.sweep.file import read_plan
from structalign.text import visible

DOCUMENT = ROOT / "docs/faults.md"
HEAD = """# Faults that were tried

`tests/test_faults.py` tries each row and writes this page: `python tests/test_faults.py`. A test fails if the page
differs. "read" means that the input is taken. "refused" is followed by the message. Kills, full disks and a damaged
cache are tried by `make torture`, random damage by `tests/test_fuzz.py`, videos by `tests/data/test_video_*.py`.
"""
WIDE = 160  # characters of a message in the table


@dataclass(frozen=True)
class Fault:
    """kind: the input in words; entry: what reads it; make: writes the input here; fact: what the message must say,
    or None where the input is taken."""

    kind: str
    entry: str
    make: Callable[[], object]
    fact: str | None


def outcome(fault: Fault) -> str:
    """Try it in an empty folder: "read", or "refused: " and the message."""
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        fault.make()
        try:
            ENTRIES[fault.entry]()
        except UserError as error:
            return f"refused: {error}"
        return "read"


def _first(findings: Iterator[Any]) -> None:
    """Raise a finding of the doctor as an error, so that all rows have one form."""
    if (found := next(findings, None)) is not None:
        raise UserError(str(found))


ENTRIES: dict[str, Callable[[], object]] = {
    "params.yaml: check": lambda: validate(load_yaml(Path("params.yaml"))),
    "tasks.yaml: check": read_tasks,
    "a sweep's file: sweep": lambda: read_plan(Path("sweep.yaml")),
    "captions.csv: prepare": lambda: read_captions(Path("data")),
    "split file: import": lambda: read_split(Path("split.pkl")),
    "ActivityNet's captions: import": lambda: _segments(Path("train.json")),
    "MSR-VTT's test captions: import": lambda: _csv_captions(Path("test.csv")),
    "preprocessor_config.json: prepare": lambda: read_statistics(Path("clip")),
    "config.json: load()": lambda: read_config(Path("checkpoint")),
    "memory.safetensors: load()": lambda: load_memory(Path("checkpoint")),
    "features: train": lambda: load_tensor(Path("centre.safetensors"), "states"),
    "features' index: train": lambda: Features(Path()),
    "frames: features": lambda: Shards(Path("frames")).array(0),
    "videos.json: frames": lambda: read_videos("t01", Path()),
    "index.json: search": lambda: Index(Path("index.json")),
    "a stage's JSON: report": lambda: read_json(Path("x.json")),
    "DVC's files: doctor": lambda: _first(unreadable()),
    "DVC's locks: doctor": lambda: _first(locks()),
    "results: doctor": lambda: _first(half_written()),
}


def write(name: str, content: bytes | str) -> Callable[[], object]:
    def make() -> None:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(content.encode() if isinstance(content, str) else content)

    return make


def params(key: str, value: str) -> Callable[[], object]:
    """params.yaml with one value as given."""
    *sections, name = key.split(".")
    lines, depth, path = (ROOT / "params.yaml").read_text(encoding="utf-8").splitlines(), 0, [*sections]
    for number, line in enumerate(lines):
        if path and line.startswith(f"{'  ' * depth}{path[0]}:"):
            path, depth = path[1:], depth + 1
        elif not path and line.startswith(f"{'  ' * depth}{name}:"):
            lines[number] = f"{'  ' * depth}{name}: {value}"
            break
    return write("params.yaml", "\n".join(lines) + "\n")


def added(text: str) -> Callable[[], object]:
    return write("params.yaml", (ROOT / "params.yaml").read_text(encoding="utf-8") + text)


def swept(old: str, new: str) -> Callable[[], object]:
    """A project with a sweep's file, in which one text is another."""
    text = "seeds: [0, 1]\nfinalists: 1\nsplit: val\nmethods:\n  finetune: {optim.*.lr: [1e-3, 2e-3]}\n"

    def make() -> None:
        Path("params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
        write_tasks(split_categories(["cats", "dogs"], 2))
        Path("sweep.yaml").write_text(text.replace(old, new), encoding="utf-8")

    return make


def tasks(old: str, new: str) -> Callable[[], object]:
    """tasks.yaml of two tasks with a part exchanged."""

    def make() -> None:
        write_tasks(split_categories(["dogs", "cats"], 2), Path("tasks.yaml"))
        text = Path("tasks.yaml").read_text()
        assert old in text
        Path("tasks.yaml").write_text(text.replace(old, new))

    return make


HEADER = "video,caption,category,split"
ROWS = "a.mp4,a dog,dogs,train\nb.mp4,a dog,dogs,test\n"


def table(text: str | bytes) -> Callable[[], object]:
    return write("data/captions.csv", text)


def pipe_at(name: str) -> Callable[[], object]:
    def make() -> None:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(name)

    return make


def clip_folder(change: dict[str, Any]) -> Callable[[], object]:
    """A CLIP's folder with one value of its preprocessing changed."""

    def make() -> None:
        write_json(Path("clip/config.json"), {"model_type": "clip", "vision_config": {"image_size": 224}})
        plain = {"size": 224, "crop_size": 224, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.2, 0.2, 0.2]}
        write_json(Path("clip/preprocessor_config.json"), plain | change)

    return make


def segments(about: dict[str, Any]) -> Callable[[], object]:
    return lambda: Path("train.json").write_text(json.dumps({"v_1": about}))


def timed(start: str, end: str) -> Callable[[], object]:
    return table(f"{HEADER},start,end\na.mp4,a dog,dogs,train,{start},{end}\n")


def rows(more: str, header: str = HEADER) -> Callable[[], object]:
    return table(f"{header}\n{ROWS}{more}")


def split(tree: Any) -> Callable[[], object]:
    return write("split.pkl", pickle.dumps(tree, protocol=2))


def checkpoint(**changes: Any) -> Callable[[], object]:
    whole = {"format": 2, "backbone": "b", "tasks": ["t01"], "categories": {"dogs": 0}}
    return lambda: write_json(Path("checkpoint/config.json"), whole | changes)


def tensors(name: str, change: Callable[[bytes], bytes]) -> Callable[[], object]:
    def make() -> None:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        save_file({"states": torch.zeros(2, 3), "0": torch.zeros(2, dtype=torch.uint8)}, name)
        Path(name).write_bytes(change(Path(name).read_bytes()))
        write_json(Path("checkpoint/config.json"), {"format": 2, "backbone": "b"})

    return make


def shards(change: Callable[[], object]) -> Callable[[], object]:
    def make() -> None:
        write_shards(Path("frames"), [({"id": "a"}, torch.zeros(1, 2, 2, 3, dtype=torch.uint8).numpy())])
        change()

    return make


def lock(content: str) -> Callable[[], object]:
    return write("dvc.lock", content)


TENSOR_FAULTS: dict[str, Callable[[bytes], bytes]] = {
    "an empty file": lambda data: b"",
    "4 bytes": lambda data: data[:4],
    "cut in its header": lambda data: data[:20],
    "cut in its numbers": lambda data: data[:-3],
    "a header of 2^63 bytes": lambda data: b"\xff" * 7 + b"\x7f" + data[8:],
    "a text": lambda data: b"hello, this is no tensor file",
    "a shape of 10^18": lambda data: data.replace(b"[2,3]", b"[999999999999999999,3]"),
    "an unknown type": lambda data: data.replace(b'"F32"', b'"X32"'),
    "zeros": lambda data: bytes(len(data)),
}
FAULTS = [
    *[
        Fault(f"`{key}: {value}`", "params.yaml: check", params(key, value), fact)
        for key, value, fact in (
            ("seed", "0", None),
            ("seed", "010", "leading zero"),
            ("seed", "-1", "`seed`"),
            ("seed", "1.5", "`seed`"),
            ("seed", "yes", "`seed`"),
            ("seed", "1:30", "`seed`"),
            ("seed", "null", "`seed`"),
            ("seed", '"7"', '`seed` = "7" must be a whole number at least 0: remove the quotes'),
            ("seed", '""', '`seed` = ""'),
            ("seed", f'"{"7" * 3000}"', "`seed`"),
            ("features.flip", '"true"', '`features.flip` = "true"'),
            ("backbone.name", "3", '`backbone.name` = 3 must be a text: write "3"'),
            ("etf.capacity", '"12"', '`etf.capacity` = "12"'),
            ("seed", "0x10", None),
            ("seed", "1_000", "`seed`"),
            ("seed", "2026-11-29", "`seed`"),
            ("seed", "'7", "line"),
            ("seed", "[1]", "`seed`"),
            ("seed", "!!python/name:os.system ''", "line 3"),
            ("seed", "*a", "line 3"),
            ("method.name", "structaling", "`method.name`"),
            ("method.name", "../evil", "`method.name`"),
            ("data.on_broken", "drop", "`data.on_broken`"),
            ("data.timeout", "0", "`data.timeout`"),
            ("data.timeout", "nan", "`data.timeout`"),
            ("data.timeout", "1e308", "`data.timeout`"),
            ("frames.per_video", "0", "`frames.per_video`"),
            ("frames.size", "1000000", "`frames.size`"),
            ("adapters.rank", "0", "`adapters.rank`"),
            ("adapters.rank", "10000000000", "`adapters.rank`"),
            ("adapters.dropout", "1.5", "`adapters.dropout`"),
            ("etf.dim", "1000000000000", "`etf.dim`"),
            ("etf.vertices", "no", "`etf.vertices`"),
            ("crp.weight", "-.inf", "`crp.weight`"),
            ("crp.temperature", "0", "`crp.temperature`"),
            ("optim.first.lr", "5e-4", None),
            ("optim.first.lr", "1e300", "`optim.first.lr`"),
            ("optim.first.lr", "1e999", "`optim.first.lr`"),
            ("optim.shared.batch", "1", "`optim.shared.batch`"),
            ("ranking.beta", "2", "`ranking.beta`"),
            ("ranking.beta", "9" * 400, "`ranking.beta`"),
        )
    ],
    Fault("a key twice", "params.yaml: check", added("seed: 1\n"), "`seed`"),
    Fault("an unknown section", "params.yaml: check", added("crpp: {weight: 1}\n"), "`crpp"),
    Fault("a recursive anchor", "params.yaml: check", added("x: &a [*a]\n"), "params.yaml"),
    Fault("an invisible letter in a key", "params.yaml: check", added("se\u200bed: 1\n"), 'write "se\\u200bed"'),
    Fault("two documents", "params.yaml: check", added("---\nseed: 1\n"), "params.yaml"),
    Fault("3,000 brackets", "params.yaml: check", added("x: " + "[" * 3000), "params.yaml"),
    Fault("an empty file", "params.yaml: check", write("params.yaml", ""), "params.yaml"),
    Fault("a list", "params.yaml: check", write("params.yaml", "- seed\n"), "params.yaml"),
    Fault("UTF-16", "params.yaml: check", write("params.yaml", "seed: 0".encode("utf-16")), "params.yaml"),
    Fault("a null byte", "params.yaml: check", write("params.yaml", "seed: \x00"), "params.yaml"),
    Fault("a tab for blanks", "params.yaml: check", write("params.yaml", "method:\n\tname: x\n"), "params.yaml"),
    Fault("no file", "params.yaml: check", lambda: None, "params.yaml"),
    Fault("a folder", "params.yaml: check", lambda: Path("params.yaml").mkdir(), "params.yaml"),
    *[
        Fault(kind, "tasks.yaml: check", tasks(old, new), fact)
        for kind, old, new, fact in (
            ("two tasks", "t01", "t01", None),
            ("a wrong `prev`", "prev: t01", "prev: t07", "t02"),
            ("no `prev`", "prev: t01", "", "`tasks.t02` lacks `prev`"),
            ("`prev` that is a number", "prev: t01", "prev: 1", "`tasks.t02.prev` = 1"),
            ("a phase that is null", "phase: later", "phase: null", "`tasks.t02.phase` = null"),
            ("a phase in quotes", "phase: later", 'phase: "true"', '`tasks.t02.phase` = "true"'),
            ("categories without brackets", "[cats]", "cats", "`tasks.t02.categories` = cats"),
            ("a category that is a list", "[cats]", "[[cats]]", "`tasks.t02.categories.0`"),
            ("a category that is null", "[cats]", "[null]", "`tasks.t02.categories.0` = null"),
            ("a category twice in a row", "[cats]", "[cats, cats]", "twice in t02"),
            ("a category with a blank", "[cats]", '[" cats"]', "spaces"),
            ("a category of 6,000 letters twice", "[cats]", f"[{'x' * 6000}, {'x' * 6000}]", "twice in t02"),
            ("a row that is a number", "t02:", "t03: 7\n  t02:", "tasks.t03"),
            ("a wrong phase", "phase: later", "phase: first", "t02"),
            ("a key out of order", "t02:", "t03:", "t03"),
            ("a shell command as key", "t02:", '"t02; touch x":', "t02"),
            ("a category twice", "[cats]", "[dogs]", "dogs"),
            ("no category", "[cats]", "[]", "`tasks.t02.categories` = []"),
            ("a category that is a number", "[cats]", "[7]", "`tasks.t02.categories.0` = 7"),
            ("a category that is `no`", "[cats]", "[no]", "no"),
            ("`${` in a category", "[cats]", '["${x}"]', "${"),
            ("a key twice", "t02:", "t01:", "t01"),
            ("an unknown column", "phase: later", "phase: later\n    more: 1", "more"),
            ("a list of tasks", "t02:", "- t02:", "tasks.yaml"),
        )
    ],
    Fault("an empty file", "tasks.yaml: check", write("tasks.yaml", ""), "tasks.yaml"),
    Fault("a list below `tasks`", "tasks.yaml: check", write("tasks.yaml", "tasks: [t01]\n"), "tasks.yaml"),
    Fault("another key", "tasks.yaml: check", write("tasks.yaml", "tasks: {}\nmore: 1\n"), "tasks.yaml"),
    Fault("a pipe", "tasks.yaml: check", lambda: os.mkfifo("tasks.yaml"), "tasks.yaml is not a file"),
    Fault("no tasks", "tasks.yaml: check", write("tasks.yaml", "tasks: {}\n"), "tasks.yaml"),
    Fault("no file", "tasks.yaml: check", lambda: None, "tasks.yaml"),
    *[
        Fault(kind, "a sweep's file: sweep", swept(old, new), fact)
        for kind, old, new, fact in (
            ("a whole file", "", "", None),
            ("no seeds", "seeds: [0, 1]\n", "", "seeds"),
            ("a seed twice", "[0, 1]", "[0, 0]", "seeds"),
            ("a seed in quotes", "[0, 1]", '["0", 1]', '`seeds` = ["0", 1]'),
            ("a count in quotes", "finalists: 1", 'finalists: "1"', '`finalists` = "1"'),
            ("a number in quotes", "[1e-3, 2e-3]", '"1e-3"', '`optim.first.lr` = "1e-3"'),
            ("a split misspelt", "val", "vla", "vla"),
            ("finalists on the test split", "val", "test", "finalists"),
            ("a key that is none", "split", "splits", "splits"),
            ("a method misspelt", "finetune", "fintune", "fintune"),
            ("a method that is a number", "{optim.*.lr: [1e-3, 2e-3]}", "3", "finetune"),
            ("a parameter misspelt", "optim.*.lr", "crp.weigth", "crp.weigth"),
            ("a pattern that fits nothing", "optim.*.lr", "optim.*.rate", "optim.*.rate"),
            ("a parameter of the frames", "optim.*.lr", "frames.size", "frames.size"),
            ("the seed as a setting", "optim.*.lr", "seed", "seeds"),
            ("a section for a key", "optim.*.lr: [1e-3, 2e-3]", "optim: {first: {lr: 1}}", "optim"),
            ("an empty list", "[1e-3, 2e-3]", "[]", "optim.*.lr"),
            ("a value twice", "[1e-3, 2e-3]", "[1e-3, 1e-3]", "twice"),
            ("a value out of bounds", "[1e-3, 2e-3]", "-1", "optim.first.lr"),
            ("a ranking that weights no signal", "methods:", "rankings: {a: {crp.weight: 1}}\nmethods:", "rankings.a"),
            ("a ranking of a taken name", "methods:", "rankings: {sentence: {ranking.beta: 0}}\nmethods:", "choose"),
            ("a ranking without keys", "methods:", "rankings: {prior: }\nmethods:", "rankings.prior"),
            ("a ranking with a comma", "methods:", "rankings: {'a, b': {ranking.beta: 0}}\nmethods:", "a, b"),
            ("one key by two names", "optim.*.lr:", "optim.first.lr: 1, optim.*.lr:", "optim.first.lr"),
            (
                "more seeds that are seeds",
                "split: val",
                "split: val\nmore_seeds: {finetune: [0]}",
                "more_seeds.finetune",
            ),
            ("more seeds of no method", "split: val", "split: val\nmore_seeds: {lwf: [7]}", "more_seeds.lwf"),
            (
                "more seeds of zero-shot CLIP",
                "methods:",
                "more_seeds: {zero_shot: [7]}\nmethods:\n  zero_shot:",
                "more_seeds.zero_shot",
            ),
            ("a baseline that is not run", "split: val", "split: val\nbaseline: lwf", "lwf"),
        )
    ],
    Fault("a list", "a sweep's file: sweep", write("sweep.yaml", "[]"), "sweep.yaml"),
    Fault("no file", "a sweep's file: sweep", lambda: None, "sweep.yaml"),
    Fault("two rows", "captions.csv: prepare", rows(""), None),
    Fault("CRLF", "captions.csv: prepare", table((HEADER + "\n" + ROWS).replace("\n", "\r\n")), None),
    Fault("a byte order mark", "captions.csv: prepare", table(b"\xef\xbb\xbf" + (HEADER + "\n" + ROWS).encode()), None),
    Fault("emoji, right-to-left", "captions.csv: prepare", rows("c.mp4,😀 שלום,dogs,train\n"), None),
    Fault("a quoted newline", "captions.csv: prepare", rows('c.mp4,"a\ndog",dogs,train\n'), None),
    Fault("no file", "captions.csv: prepare", lambda: None, "captions.csv does not exist"),
    Fault("an empty file", "captions.csv: prepare", table(""), "captions.csv"),
    Fault("a header alone", "captions.csv: prepare", table(HEADER + "\n"), "no rows"),
    Fault("semicolons", "captions.csv: prepare", table((HEADER + "\n" + ROWS).replace(",", ";")), "commas"),
    Fault("Latin-1", "captions.csv: prepare", table(f"{HEADER}\na.mp4,caf\xe9,x,train\n".encode("latin-1")), "UTF-8"),
    Fault("UTF-16", "captions.csv: prepare", table((HEADER + "\n" + ROWS).encode("utf-16")), "UTF-8"),
    Fault("an open quote", "captions.csv: prepare", rows('c.mp4,"a dog,dogs,train\n'), "CSV"),
    *[
        Fault(f"`{key}` = `{json.dumps(value)}`", "preprocessor_config.json: prepare", clip_folder({key: value}), fact)
        for key, value, fact in (
            ("do_convert_rgb", True, None),
            ("do_center_crop", False, "`do_center_crop` = false"),
            ("do_center_crop", "true", '`do_center_crop` = "true"'),
            ("do_normalize", "false", '`do_normalize` = "false"'),
            ("do_pad", True, "`do_pad`"),
            ("do_crop_margin", True, "`do_crop_margin`"),
            ("size", 336, "`size`"),
            ("size", {"height": 224, "width": 224}, "`size`"),
            ("default_to_square", True, "`default_to_square`"),
            ("crop_size", {"height": 224, "width": 200}, "`crop_size`"),
            ("resample", 2, "`resample`"),
            ("rescale_factor", 0, "`rescale_factor`"),
            ("image_mean", [0.5], "`image_mean`"),
            ("image_std", [0, 0, 0], "`image_std`"),
            ("image_processor_type", "ViTImageProcessor", "`image_processor_type`"),
        )
    ],
    Fault("no file", "preprocessor_config.json: prepare", write("clip/config.json", "{}"), "preprocessor_config.json"),
    Fault("a list", "preprocessor_config.json: prepare", write("clip/preprocessor_config.json", "[]"), "preprocessor"),
    Fault("cut", "preprocessor_config.json: prepare", write("clip/preprocessor_config.json", '{"do'), "damaged"),
    Fault("a folder", "captions.csv: prepare", lambda: Path("data/captions.csv").mkdir(parents=True), "captions.csv"),
    Fault("a pipe", "captions.csv: prepare", pipe_at("data/captions.csv"), "captions.csv"),
    *[
        Fault(kind, "captions.csv: prepare", rows(row, header), fact)
        for kind, row, header, fact in (
            ("a column misspelt", "", "video,caption,categry,split", "categry"),
            ("a column twice", "", f"{HEADER},split", "twice"),
            ("an unknown column", "", f"{HEADER},note", "note"),
            ("a caption with a comma", "c.mp4,a dog, barking,dogs,train\n", HEADER, "quotes"),
            ("an empty caption", "c.mp4,,dogs,train\n", HEADER, "row 4"),
            ("an empty category", "c.mp4,a dog,,train\n", HEADER, "row 4"),
            ("an empty video", ",a dog,dogs,train\n", HEADER, "row 4"),
            ("a wrong split", "c.mp4,a dog,dogs,trian\n", HEADER, "trian"),
            ("a split of 6,000 letters", f"c.mp4,a dog,dogs,{'x' * 6000}\n", HEADER, "row 4"),
            ("an absolute path", "/etc/passwd,a dog,dogs,train\n", HEADER, "leads out of videos/"),
            ("a path upwards", "../x.mp4,a dog,dogs,train\n", HEADER, "leads out of videos/"),
            ("a path down and up", "x/../../y.mp4,a dog,dogs,train\n", HEADER, "leads out of videos/"),
            ("a file name of 300 letters", f"{'x' * 300}.mp4,a dog,dogs,train\n", HEADER, None),
            ("a terminal's escape", "\x1b[2J.mp4,a dog,dogs,trian\x1b[2J\n", HEADER, "not a split"),
            ("NFC and NFD of a category", "c.mp4,a dog,café,train\nd.mp4,a dog,cafe\u0301,train\n", HEADER, None),
            ("a backslash", "x\\y.mp4,a dog,dogs,train\n", HEADER, "leads out of videos/"),
            ("`#` in a name", "x#1.mp4,a dog,dogs,train\n", HEADER, "#"),
            ("`${` in a category", "c.mp4,a dog,${x},train\n", HEADER, "${"),
            ("a clip in two categories", "a.mp4,a dog,cats,train\n", HEADER, "choose one"),
            ("a row twice", "a.mp4,a dog,dogs,train\n", HEADER, "row"),
            ("a video in two splits", "a.mp4,a dog,dogs,test\n", HEADER, "row"),
        )
    ],
    *[
        Fault(f"`start` = {start}, `end` = {end}", "captions.csv: prepare", timed(start, end), fact)
        for start, end, fact in (
            ("0.5", "2", None),
            ("", "2", None),
            ('"1,5"', "2", "decimal comma"),
            ("x" * 300, "2", "not a time"),
            ("-0.0", "2", "not a time"),
            ("1e-3", "1e1", None),
            (".5", "2.", None),
            ("1_0", "20", "not a time"),
            ("٣", "20", "not a time"),
            ("-1", "2", "not a time"),
            ("nan", "2", "not a time"),
            ("0", "1e999", "not a time"),
            ("0:10", "0:20", "write seconds"),
            ("3", "2", "row 2"),
            ("2", "2", "row 2"),
        )
    ],
    Fault(
        "two tasks", "split file: import", split({p: {1: {0: [p]}, 2: {1: [p + "2"]}} for p in ("train", "val")}), None
    ),
    Fault("a list", "split file: import", split([]), "train and val"),
    Fault("a task missing", "split file: import", split({"train": {1: {0: ["a"]}}, "val": {}}), "not numbered"),
    Fault("a video twice", "split file: import", split({p: {1: {0: ["a"]}} for p in ("train", "val")}), "a is in"),
    Fault("a text", "split file: import", write("split.pkl", "hello"), "not a CTVR split file"),
    Fault("an empty file", "split file: import", write("split.pkl", ""), "not a CTVR split file"),
    Fault("`os.system`", "split file: import", write("split.pkl", b"cos\nsystem\n(S'id'\ntR."), "os.system"),
    Fault("`eval`", "split file: import", write("split.pkl", b"c__builtin__\neval\n(S'1'\ntR."), "eval"),
    Fault(
        "2^31 entries asked for", "split file: import", write("split.pkl", b"\x80\x02}r\xff\xff\xff\x7f."), "split file"
    ),
    Fault(
        "a frame of 2^60 bytes",
        "split file: import",
        write("split.pkl", b"\x80\x04\x95" + b"\0" * 7 + b"\x10."),
        "split",
    ),
    Fault("no file", "split file: import", lambda: None, "can't be read"),
    Fault("a pipe", "split file: import", lambda: os.mkfifo("split.pkl"), "a pipe or a device"),
    Fault("a folder", "split file: import", lambda: Path("split.pkl").mkdir(), "can't be read"),
    *[
        Fault(kind, "ActivityNet's captions: import", segments(about), fact)
        for kind, about, fact in (
            ("a segment", {"timestamps": [[0, 1]], "sentences": ["a dog"]}, None),
            ("a segment [0, 0]", {"timestamps": [[0, 0]], "sentences": ["a dog"]}, None),
            ("a negative start", {"timestamps": [[-1, 2]], "sentences": ["a dog"]}, None),
            ("NaN", {"timestamps": [[float("nan"), 2]], "sentences": ["a dog"]}, None),
            ("a time of 400 digits", {"timestamps": [[0, 10**400]], "sentences": ["a dog"]}, "v_1"),
            ("a time that is a text", {"timestamps": [["a", 1]], "sentences": ["a dog"]}, "v_1"),
            ("three times", {"timestamps": [[0, 1, 2]], "sentences": ["a dog"]}, "v_1"),
            ("a sentence that is a number", {"timestamps": [[0, 1]], "sentences": [7]}, "v_1"),
        )
    ],
    Fault("nested 100,000 deep", "ActivityNet's captions: import", write("train.json", "[" * 100_000), "train.json"),
    Fault("a pipe", "ActivityNet's captions: import", lambda: os.mkfifo("train.json"), "a pipe or a device"),
    Fault("a list", "ActivityNet's captions: import", write("train.json", "[]"), "train.json"),
    Fault("cut", "ActivityNet's captions: import", write("train.json", '{"v_1": {"timest'), "train.json"),
    Fault(
        "no sentences",
        "ActivityNet's captions: import",
        write("train.json", '{"v_1": {"timestamps": [[0, 1]]}}'),
        "train",
    ),
    *[
        Fault(kind, "MSR-VTT's test captions: import", write("test.csv", text), fact)
        for kind, text, fact in (
            ("a row", "video_id,sentence\nv,a dog\n", None),
            ("a comma without quotes", "video_id,sentence\nv,a dog, barking\n", None),
            ("a comma before the last column", "sentence,video_id\na dog, barking,v\n", "row 2"),
            ("an open quote", 'video_id,sentence\nv,"a dog\nw,a cat\n', "row 2"),
            ("no column `sentence`", "video_id,text\nv,a dog\n", "sentence"),
            ("an empty file", "", "test.csv"),
            ("UTF-16", "video_id,sentence\nv,a dog\n".encode("utf-16"), "test.csv"),
            ("a cell of 200,000 letters", f"video_id,sentence\nv,{'a' * 200_000}\n", "test.csv"),
        )
    ],
    Fault("of this version", "config.json: load()", checkpoint(), None),
    Fault("of a newer version", "config.json: load()", checkpoint(format=99), "config.json"),
    Fault("an unknown field", "config.json: load()", checkpoint(more=1), "`more`"),
    Fault("`tasks` = 5", "config.json: load()", checkpoint(tasks=5), "`tasks`"),
    Fault("a seed that is a text", "config.json: load()", checkpoint(seed="x"), "`seed`"),
    Fault("a model that is a list", "config.json: load()", checkpoint(model=[1]), "`model`"),
    Fault("hashes that are a number", "config.json: load()", checkpoint(files=3), "`files`"),
    Fault("a format in quotes", "config.json: load()", checkpoint(format="2"), "`format`"),
    Fault("a format of 400 digits", "config.json: load()", checkpoint(format=10**400), "config.json"),
    Fault("a pipe", "config.json: load()", pipe_at("checkpoint/config.json"), "a pipe or a device"),
    Fault("a list", "config.json: load()", write("checkpoint/config.json", "[]"), "config.json"),
    Fault("null", "config.json: load()", write("checkpoint/config.json", "null"), "config.json"),
    Fault("cut", "config.json: load()", write("checkpoint/config.json", '{"format": 2, "back'), "config.json"),
    Fault("not UTF-8", "config.json: load()", write("checkpoint/config.json", b"\xff\xfe{}"), "config.json"),
    Fault("no folder", "config.json: load()", lambda: None, "checkpoint"),
    *[
        Fault(kind, entry, tensors(file, change), file)
        for entry, file in (
            ("memory.safetensors: load()", "checkpoint/memory.safetensors"),
            ("features: train", "centre.safetensors"),
        )
        for kind, change in TENSOR_FAULTS.items()
    ],
    Fault(
        "another tensor", "features: train", lambda: save_file({"x": torch.zeros(1)}, "centre.safetensors"), "states"
    ),
    Fault("a pipe", "features: train", pipe_at("centre.safetensors"), "a pipe or a device"),
    Fault("no file", "features: train", lambda: None, "centre.safetensors does not exist"),
    Fault("no `views`", "features' index: train", write("index.json", '{"videos": []}'), "index.json"),
    Fault(
        "rows that are texts", "features' index: train", write("index.json", '{"videos": "ab", "views": 1}'), "index"
    ),
    Fault("a whole shard", "frames: features", shards(lambda: None), None),
    Fault("a cut shard", "frames: features", shards(write("frames/000.safetensors", b"abc")), "000.safetensors"),
    Fault("a row without its id", "videos.json: frames", write("t01/videos.json", '{"videos": [{}]}'), "videos.json"),
    Fault("a number", "videos.json: frames", write("t01/videos.json", "7"), "videos.json"),
    Fault("no file", "videos.json: frames", lambda: None, "does not exist"),
    Fault(
        "no galleries", "index.json: search", write("index.json", json.dumps({"format": INDEX_FORMAT})), "index.json"
    ),
    Fault("of an older version", "index.json: search", write("index.json", '{"galleries": []}'), "index.json"),
    Fault(
        "a gallery that is gone",
        "index.json: search",
        write(
            "index.json",
            json.dumps({"format": INDEX_FORMAT, "galleries": [{"task": "t", "folder": "g", "files": {"a": "0"}}]}),
        ),
        "g/a",
    ),
    Fault("cut", "a stage's JSON: report", write("x.json", '{"R@1": 1'), "x.json"),
    Fault("nested 100,000 deep", "a stage's JSON: report", write("x.json", "[" * 100_000), "x.json"),
    Fault("a pipe", "a stage's JSON: report", pipe_at("x.json"), "a pipe or a device"),
    Fault("a folder", "a stage's JSON: report", lambda: Path("x.json").mkdir(), "x.json"),
    Fault("a whole dvc.lock", "DVC's files: doctor", lock("schema: '2.0'\nstages: {}\n"), None),
    Fault("an empty dvc.lock", "DVC's files: doctor", lock(""), "dvc.lock"),
    Fault("a cut dvc.lock", "DVC's files: doctor", lock("schema: '2.0'\nstages:\n  check:\n    cm"), "`rm dvc.lock`"),
    Fault("a pipe", "DVC's files: doctor", pipe_at("dvc.lock"), "`rm dvc.lock`"),
    Fault("YAML tags", "DVC's files: doctor", lock("a: !!python/name:os.system ''\n"), "`rm dvc.lock`"),
    Fault("UTF-16", "DVC's files: doctor", write("dvc.lock", "stages: {}".encode("utf-16")), "`rm dvc.lock`"),
    Fault("a merge conflict", "DVC's files: doctor", lock("<<<<<<< HEAD\nschema: '2.0'\n"), "`rm dvc.lock`"),
    Fault("a cut hash", "DVC's files: doctor", write("data.dvc", "outs:\n- md5: 12ab\n  path: data\n"), "data.dvc"),
    Fault("an empty data.dvc", "DVC's files: doctor", write("data.dvc", ""), "data.dvc"),
    Fault("an unused path lock", "DVC's locks: doctor", write(str(RWLOCKS[0]), "{}"), None),
    Fault("a path lock of 0 bytes", "DVC's locks: doctor", write(str(RWLOCKS[0]), ""), "`rm .dvc/tmp/rwlock`"),
    Fault("a path lock that is a pipe", "DVC's locks: doctor", pipe_at(str(RWLOCKS[0])), "`rm .dvc/tmp/rwlock`"),
    Fault("a path lock that is a folder", "DVC's locks: doctor", write(f"{RWLOCKS[0]}/x", ""), "`rm -r .dvc/tmp/rw"),
    Fault("a cut path lock", "DVC's locks: doctor", write(str(RWLOCKS[1]), '{"read": {"/a": [{"p'), "exps/rwlock"),
    Fault(
        "the lock of an ended DVC",
        "DVC's locks: doctor",
        write(str(RWLOCKS[0]), '{"write": {"/a": {"pid": 7, "cmd": "dvc repro"}}}'),
        "names process 7",
    ),
    Fault(
        "a hard-link lock", "DVC's locks: doctor", write(".dvc/tmp/lock", "/p/.dvc/tmp/12.lock"), "`rm .dvc/tmp/lock`"
    ),
    Fault("a half-written checkpoint", "results: doctor", write("checkpoints/.t02.part/config.json", "{"), ".t02.part"),
    Fault("a half-written file", "results: doctor", write("work/.videos.json.part", "["), ".videos.json.part"),
]


def _name(fault: Fault) -> str:
    return re.sub(r"[^ -~]", "?", f"{fault.entry}: {fault.kind}"[:80])


@pytest.mark.parametrize("fault", FAULTS, ids=_name)
def test_a_fault_is_refused_in_one_sentence_or_read(fault: Fault) -> None:
    said = outcome(fault)
    if fault.fact is None:
        assert said == "read"
    else:
        assert said.startswith("refused: ")
        assert fault.fact in said
        assert said.endswith((".", "lists all)"))
        assert "\n" not in said
        assert len(said) < 700


def page() -> str:
    """docs/faults.md."""
    lines = [HEAD]
    for entry in ENTRIES:
        lines += [f"## {entry}\n", "| input | what happened |", "|---|---|"]
        lines += [f"| {_cell(f.kind)} | {_cell(outcome(f))} |" for f in FAULTS if f.entry == entry]
        lines.append("")
    return "\n".join(lines)


def _cell(text: str) -> str:
    text = visible(text if len(text) <= WIDE else f"{text[:WIDE]}…")
    return text.replace("|", "\\|").replace("<", "&lt;")


def test_the_page_equals_the_trials() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == page(), "python tests/test_faults.py writes it anew"


def test_the_page_has_many_rows() -> None:
    assert len(FAULTS) >= 120


if __name__ == "__main__":
    DOCUMENT.write_text(page(), encoding="utf-8")
    print(f"{len(FAULTS)} rows", file=sys.stderr)
