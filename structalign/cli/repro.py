"""`structalign repro`: `dvc repro` with independent stages in parallel.

DVC runs one stage at a time, but several DVC processes may share a project. So this asks DVC for the stages and for
those that changed. It starts DVC for each of them as soon as the stages that it needs are done.
"""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Annotated

import typer

from structalign.console import say
from structalign.dvc_command import run_dvc
from structalign.errors import UserError

Graph = Mapping[str, set[str]]  # stage -> the stages whose outputs it needs
NODE, EDGE = re.compile(r'^"([^"]+)";$', re.M), re.compile(r'^"([^"]+)" -> "([^"]+)";$', re.M)

app = typer.Typer(add_completion=False)


@dataclass(frozen=True)
class Done:
    """The result of DVC's run of one stage."""

    stage: str
    seconds: float
    failed: bool
    said: str
    complained: str


@app.command()
def repro(
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Stages to run in parallel.")] = 2,
) -> None:
    """Do what `dvc repro` does, with up to JOBS independent stages in parallel."""
    graph = stages()
    stale = changed(graph)
    first = {stage for stage in stale if not graph[stage]}  # `check`: its outputs decide what else changed
    show(in_any_order(graph, first, jobs))
    left = affected(graph, changed(graph) if first else stale)
    show(in_any_order(graph, left, jobs), len(left))
    if not first | left:
        say("Nothing changed: all outputs are up to date.")


def show(ends: Iterator[Done], total: int = 0) -> None:
    """Print a line and the output of each stage. Raise a `UserError` for a failed one, after all others have ended."""
    failed = None
    for number, done in enumerate(ends, start=1):
        say(f"{f'[{number}/{total}] ' if total else ''}{done.stage} {done.seconds:.1f} s")
        if done.complained:
            say(done.complained, err=True)
        if done.said:
            say(done.said)
        failed = failed or (done.stage if done.failed else None)
    if failed:
        raise UserError(f"stage {failed} failed, see above: fix it, then `structalign repro` continues from there.")


def stages() -> Graph:
    """The stages that `dvc repro` covers: those of dvc.yaml and the stages they need."""
    dot = run_dvc("dag", "--dot")
    needs: dict[str, set[str]] = {name: set() for name in NODE.findall(dot) if "/" not in name}
    for before, after in EDGE.findall(dot):
        if after in needs and before in needs:
            needs[after].add(before)
    return needs


def changed(graph: Graph) -> set[str]:
    """The stages whose inputs, outputs or command differ from dvc.lock."""
    return set(json.loads(run_dvc("status", "--json"))) & set(graph)


def affected(graph: Graph, stages: set[str]) -> set[str]:
    """The stages and all stages that depend on them, directly or indirectly."""
    found = set(stages)
    while more := {stage for stage, needs in graph.items() if needs & found} - found:
        found |= more
    return found


def lengths(graph: Graph) -> dict[str, int]:
    """For each stage, the length of the longest chain of stages that depend on it."""
    found = dict.fromkeys(graph, 1)
    for _ in graph:
        for stage, needs in graph.items():
            for before in needs:
                found[before] = max(found[before], found[stage] + 1)
    return found


def in_any_order(graph: Graph, left: set[str], jobs: int) -> Iterator[Done]:
    """Reproduce the stages, those with the longest chain first. After a failure no further stage starts."""
    longest = lengths(graph)
    order = sorted(left, key=lambda stage: (-longest[stage], stage))
    begun: set[str] = set()
    ended: set[str] = set()
    running: set[Future[Done]] = set()
    failed = False
    with ThreadPoolExecutor(jobs) as pool:
        while len(ended) < len(order) and not (failed and not running):
            for stage in order:
                if failed or len(running) == jobs:
                    break
                if stage not in begun and not graph[stage] & left - ended:
                    begun.add(stage)
                    running.add(pool.submit(reproduce, stage))
            complete, running = wait(running, return_when=FIRST_COMPLETED)
            for done in sorted((future.result() for future in complete), key=lambda done: done.failed):
                ended.add(done.stage)
                failed = failed or done.failed
                yield done


def reproduce(stage: str) -> Done:
    """Let DVC reproduce a single stage."""
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "--quiet", "--single-item", stage]
    start = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    seconds, complained = time.monotonic() - start, done.stderr.strip("\n")
    if done.returncode and not complained:  # DVC itself refused; with --quiet it gives no reason
        try:
            run_dvc("repro", "--single-item", stage)
        except UserError as error:
            complained = str(error)
    return Done(stage, seconds, done.returncode != 0, done.stdout.strip("\n"), complained)
