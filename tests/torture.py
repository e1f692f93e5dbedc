"""`make torture` kills runs of a project and damages its files.

A toy project of two tasks is run once, undisturbed. Each trial takes a copy of it in which one stage must still run.
It disturbs that run or the copy, and runs `dvc repro` again. That must give the undisturbed bytes, or stop. If it
stops, `structalign doctor --fix` must repair the copy, so that the next `dvc repro` gives these bytes.

    python tests/torture.py --seed 0 --kills 36
"""

import argparse
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil
from toy import Project, executed, make_project

from structalign.strict_yaml import dump_yaml, load_yaml

STAGES = ("prepare", "frames@t01", "features@t02", "train@t01", "train@t02", "embed@t02", "evaluate@t02", "report")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
TARGETS = ("dvc", "stage", "group")
MOMENTS = ("starting", "working", "finishing")
PATIENCE = 900.0  # seconds until a process counts as hung, on a machine that may be busy
FOLDERS = ("work", "checkpoints", "reports")
COSTS = ("work/costs/", "reports/costs.json", "reports/index.html")  # seconds and memory, and the page that shows them
NOT_RUN = "not run: mounting is not allowed here"
LINES = 15  # of the output of a command, shown where a trial fails
FILLED = ("frames@t01", "features@t02", "train@t02", "report")


@dataclass
class Trial:
    """A disturbance and its outcome. kind: its row in the table of figures."""

    name: str
    kind: str
    outcome: str = ""
    passed: bool = False
    said: str = ""  # the last lines of doctor and `dvc repro`


class Copy(Project):
    """A copy of the undisturbed project, with DVC's database of hashes beside it."""

    def __init__(self, whole: Path, place: Path, memory: Path | None = None) -> None:
        super().__init__(place)
        self.memory = memory or Path(f"{place}.site")
        subprocess.run(["cp", "-a", whole, place], check=True)

    def environment(self) -> dict[str, str]:
        """One thread, no network, and the database of hashes beside the copy."""
        kept = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        path = os.pathsep.join([str(Path(sys.executable).parent), kept["PATH"]])
        own = {"PATH": path, "DVC_SITE_CACHE_DIR": str(self.memory), "STRUCTALIGN_SAVE_SECONDS": "0"}
        return (
            kept
            | own
            | {
                "OMP_NUM_THREADS": "1",
                "STRUCTALIGN_THREADS": "1",
                "HF_HUB_OFFLINE": "1",
                "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            }
        )

    def start(self, *command: str) -> "subprocess.Popen[str]":
        """Start a command in a new process group."""
        return subprocess.Popen(
            command,
            cwd=self.root,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def finish(self, *command: str, patience: float | None = PATIENCE) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        process = self.start(*command)
        said, _ = process.communicate(timeout=patience)
        return subprocess.CompletedProcess(command, process.returncode, said, "")

    def forget(self, stage: str) -> None:
        """Make one stage run again: remove its outputs, its entry of dvc.lock and DVC's run cache."""
        file = self.root / "dvc.lock"
        lock = load_yaml(file)
        for out in lock["stages"].pop(stage)["outs"]:
            remove(self.root / out["path"])
        file.write_text(dump_yaml(lock), encoding="utf-8")
        shutil.rmtree(self.root / ".dvc/cache/runs")

    def stages(self) -> list[psutil.Process]:
        """The stages that run here."""
        found = []
        for process in psutil.process_iter(["cmdline", "cwd"]):
            words, folder = process.info["cmdline"] or [], process.info["cwd"]
            if folder == str(self.root) and any(word.startswith("stages.") for word in words):
                found.append(process)
        return found

    def contents(self) -> dict[str, bytes]:
        """The run's results, without its costs."""
        files = [file for name in FOLDERS for file in (self.root / name).rglob("*") if file.is_file()]
        names = {file.relative_to(self.root).as_posix(): file for file in files}
        return {name: file.read_bytes() for name, file in names.items() if not name.startswith(COSTS)}


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def kill(project: Copy, stage: str, how: signal.Signals, target: str, moment: str, dice: random.Random) -> str:
    """Run a stage by `dvc repro` and send a signal. Returns a description of the kill."""
    project.forget(stage)
    process = project.start("dvc", "repro")
    begun = time.monotonic()
    if moment == "starting" and target != "stage":
        time.sleep(dice.uniform(0.1, 2.0))
    else:
        _wait(lambda: bool(project.stages()) or process.poll() is not None)
        if moment == "finishing":
            _wait(lambda: not project.stages() or process.poll() is not None)
            time.sleep(dice.uniform(0, 0.4))
        else:
            time.sleep(dice.uniform(0, 1) * DURATION[stage.partition("@")[0]])
    running = project.stages()
    hit = process.poll() is None
    with suppress(ProcessLookupError, psutil.NoSuchProcess):
        if target == "group":
            os.killpg(process.pid, how)
        elif target == "stage" and running:
            running[0].send_signal(how)
        else:
            process.send_signal(how)
    said, _ = process.communicate(timeout=PATIENCE)
    _wait(lambda: not project.stages())
    where = "in the stage" if running else "in DVC"
    ended = f"killed {where} after {time.monotonic() - begun:.0f} s" if hit else "had ended"
    return f"{ended}, exit {process.returncode}{', TRACEBACK' * _ours_failed(said)}"


def _ours_failed(said: str) -> bool:
    """Whether our code ended in a traceback that no interrupt explains."""
    return "Traceback" in said and "KeyboardInterrupt" not in said and "structalign/" in said


DURATION = {"prepare": 3, "frames": 3, "features": 6, "train": 8, "embed": 6, "evaluate": 2, "report": 3}  # seconds


def _wait(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError("it hangs")
        time.sleep(0.02)


def two_at_once(project: Copy) -> str:
    project.forget("train@t02")
    both = [project.start("dvc", "repro") for _ in range(2)]
    for process in both:
        process.communicate(timeout=PATIENCE)
    return f"exits {sorted(process.returncode for process in both)}"


def objects(project: Copy) -> list[Path]:
    return sorted((project.root / ".dvc/cache/files/md5").glob("*/*"))


def flip(path: Path) -> None:
    """Change one byte. The cache's objects stay read-only, so DVC takes them for intact."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    path.chmod(0o444)


def damage_cache(project: Copy, how: str) -> str:
    """Damage the objects, and remove the files that were checked out from them."""
    for name in FOLDERS[:2]:
        shutil.rmtree(project.root / name)
    for path in objects(project):
        is_list = path.name.endswith(".dir")
        if how == "gone":
            path.unlink()
        elif how == "cut":
            path.chmod(0o644)
            path.write_bytes(path.read_bytes()[:10])
            path.chmod(0o444)
        elif how == "flipped" or is_list == (how == "lists flipped"):
            flip(path)
    return f"cache {how}"


def write(project: Copy, name: str, content: bytes | int) -> str:
    """Write a file, or cut it to so many bytes."""
    path = project.root / name
    content = path.read_bytes()[:content] if isinstance(content, int) else content
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return "written"


def damage_memory(project: Copy) -> str:
    """Damage DVC's database of hashes, which is outside the project."""
    project.finish("dvc", "status")
    files = list(project.memory.rglob("cache.db"))
    for file in files:
        file.write_bytes(b"SQLite format 3\0" + random.Random(0).randbytes(8192))
    return f"{len(files)} files"


def fill_disk(project: Copy, stage: str, left: int) -> str:
    """Run a stage with `left` bytes of disk, then give the rest back."""
    project.forget(stage)
    filler = project.root / ".scratch/filler"
    filler.parent.mkdir(exist_ok=True)
    free = shutil.disk_usage(project.root).free
    with suppress(OSError), filler.open("wb", buffering=0) as stream:
        stream.write(bytes(max(0, free - left)))
    done = project.finish("dvc", "repro")
    remove(filler.parent)
    said = re.findall(r"error: (.+)", done.stdout) or re.findall(r"ERROR: (.+)", done.stdout)
    return f"exit {done.returncode}: {said[0] if said else ''}{', TRACEBACK' * _ours_failed(done.stdout)}"


def recover(project: Copy, expected: dict[str, bytes], trial: Trial, silent: bool) -> None:
    """Run `dvc repro`, then the doctor if needed. silent: DVC alone may not notice this damage."""
    done = project.finish("dvc", "repro")
    same = project.contents() == expected
    if done.returncode == 0 and same:
        trial.outcome += "; dvc repro: same bytes"
    elif done.returncode == 0 and not silent:
        trial.outcome += "; dvc repro: OTHER BYTES, unsaid"
        return
    else:
        first = "other bytes" if done.returncode == 0 else f"exit {done.returncode}"
        mended = project.finish("structalign", "doctor", "--fix", "--yes")
        found = re.findall(r"found: (.+)", mended.stdout)
        done = project.finish("dvc", "repro")
        same = project.contents() == expected
        trial.outcome += f"; dvc repro: {first}; doctor: {found[0] if found else 'NOTHING FOUND'} ({len(found)} found)"
        trial.outcome += f"; dvc repro: exit {done.returncode}, {'same' if same else 'OTHER'} bytes"
        trial.said = "\n".join([*mended.stdout.splitlines()[-LINES:], "dvc repro:", *done.stdout.splitlines()[-LINES:]])
    halves = [path for name in FOLDERS for path in (project.root / name).rglob(".*.part")]
    trial.outcome += f"; {len(halves)} HALF-WRITTEN" * bool(halves)
    trial.passed = done.returncode == 0 and same and not halves and "TRACEBACK" not in trial.outcome


def attempt(
    trial: Trial,
    disturb: Callable[[Copy], str],
    whole: Path,
    place: Path,
    expected: dict[str, bytes],
    silent: bool = False,
    memory: Path | None = None,
) -> Trial:
    """One trial, from copy to verdict."""
    try:
        project = Copy(whole, place, memory)
        trial.outcome = disturb(project)
        recover(project, expected, trial, silent)
    except (TimeoutError, subprocess.TimeoutExpired) as error:
        trial.outcome += f"; HANGS ({error})"
    except Exception as error:
        trial.outcome += f"; {type(error).__name__}: {error}"
    print(f"{'ok  ' if trial.passed else 'FAIL'} {trial.name}: {trial.outcome}", flush=True)
    if trial.passed:
        remove(place)
        remove(Path(f"{place}.site"))
    else:
        print(trial.said, flush=True)
    return trial


def kills(count: int, seed: int) -> Iterator[tuple[Trial, Callable[[Copy], str]]]:
    """Kills spread over stages, signals, targets and moments, so that each is tried equally often."""
    dice = random.Random(seed)
    ways = [(how, target) for how in SIGNALS for target in TARGETS]
    for number in range(count):
        stage, (how, target) = STAGES[number % len(STAGES)], ways[number % len(ways)]
        moment = dice.choice(MOMENTS)
        name = f"kill {number + 1}: {how.name} to the {target}, {moment}, {stage}"
        draw = random.Random(f"{seed} {number}")
        yield (
            Trial(name, f"kill by {how.name}"),
            partial(kill, stage=stage, how=how, target=target, moment=moment, dice=draw),
        )


def damages() -> Iterator[tuple[Trial, Callable[[Copy], str], bool]]:
    """All damages. The last item says whether DVC alone may not notice the damage."""
    yield Trial("two dvc repro at once", "two at once"), two_at_once, False
    for how in ("flipped", "files flipped", "lists flipped", "cut", "gone"):
        yield Trial(f"every object of the cache {how}", "damaged cache"), partial(damage_cache, how=how), True
    rwlock = ".dvc/tmp/rwlock"
    for name, file, content in (
        ("rwlock of 0 bytes", rwlock, b""),
        ("rwlock cut", rwlock, b'{"write": {"/p": {"pid": 4'),
        ("dvc.lock of 0 bytes", "dvc.lock", b""),
        ("dvc.lock cut", "dvc.lock", 1000),
        ("data.dvc cut", "data.dvc", 20),
        ("git's index locked", ".git/index.lock", b""),
    ):
        yield Trial(name, "damaged locks"), partial(write, name=file, content=content), False
    yield Trial("DVC's memory of hashes damaged", "damaged locks"), damage_memory, False


def mount(place: Path, mebibytes: int) -> bool:
    """Mount a small tmpfs. Returns False if that is not permitted."""
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(place)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def full_disks(whole: Path, folder: Path, expected: dict[str, bytes]) -> Iterator[Trial]:
    """Stages that meet a full disk, one after another."""
    for number, stage in enumerate(FILLED):
        trial, place = Trial(f"full disk, {stage}", "full disk"), folder / f"disk{number}"
        if not mount(place, 48):
            trial.outcome, trial.passed = NOT_RUN, True
            print(f"ok   {trial.name}: {trial.outcome}", flush=True)
            yield trial
            continue
        try:
            fill, memory = partial(fill_disk, stage=stage, left=16384), folder / f"memory{number}"
            yield attempt(
                trial, fill, whole, place / "toy", expected, memory=memory
            )  # outside the disk, otherwise DVC stops first
        finally:
            subprocess.run(["umount", str(place)], check=False)


def main() -> None:
    """Run all trials, two at a time. Exit 1 if one fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kills", type=int, default=36)
    parser.add_argument("--only", default="", help="a regular expression that names of trials must match")
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell in the background starts its children without
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="torture", ignore_cleanup_errors=True) as name:
        folder = Path(name).resolve()
        whole = folder / "whole"
        whole.mkdir()
        make_project(Project(whole), 2)
        first = Copy(whole, folder / "first")
        remove(whole)
        done = first.finish("dvc", "repro", patience=None)
        assert "report" in executed(done), done.stdout
        first.commit()
        expected = first.contents()
        planned = [(trial, disturb, False) for trial, disturb in kills(options.kills, options.seed)] + list(damages())
        planned = [plan for plan in planned if re.search(options.only, plan[0].name)]
        with ThreadPoolExecutor(2) as pool:
            running = [
                pool.submit(attempt, trial, disturb, first.root, folder / f"{number:03d}", expected, silent)
                for number, (trial, disturb, silent) in enumerate(planned)
            ]
            trials = [future.result() for future in running]
        if re.search(options.only, "full disk"):
            trials += full_disks(first.root, folder, expected)
    print(table(trials))
    print(f"{(time.monotonic() - begun) / 60:.1f} minutes")
    raise SystemExit(not all(trial.passed for trial in trials))


def table(trials: list[Trial]) -> str:
    """The figures of each kind of disturbance, in Markdown."""
    rows = [f"| {'disturbance':16} | trials | failed | not run |", f"|{'-' * 18}|-------:|-------:|--------:|"]
    for kind in (*dict.fromkeys(trial.kind for trial in trials), "all"):
        own = [trial for trial in trials if kind in (trial.kind, "all")]
        failed, skipped = sum(not trial.passed for trial in own), sum(trial.outcome == NOT_RUN for trial in own)
        rows.append(f"| {kind:16} | {len(own):6} | {failed:6} | {skipped:7} |")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
