"""`structalign repro`: `dvc repro`, with stages side by side that do not wait for each other.

DVC runs one stage at a time, but lets several of its processes share a project. So this asks DVC which stages there are
and which changed, and has DVC reproduce each by itself as soon as those that it needs are done.
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

from structalign.cli.dvc_add import run_dvc
from structalign.console import say
from structalign.errors import UserError

Graph = Mapping[str, set[str]]  # stage -> the stages whose outputs it needs
NODE, EDGE = re.compile(r'^"([^"]+)";$', re.M), re.compile(r'^"([^"]+)" -> "([^"]+)";$', re.M)

app = typer.Typer(add_completion=False)


@dataclass(frozen=True)
class Done:
    """How DVC ended with a stage."""

    stage: str
    seconds: float
    failed: bool
    said: str
    complained: str


@app.command()
def repro(
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Stages at a time.")] = 2,
) -> None:
    """Do what `dvc repro` does, with JOBS stages at a time where they do not wait for each other."""
    graph = stages()
    stale = changed(graph)
    first = {stage for stage in stale if not graph[stage]}  # `check`: only what it writes tells what else has changed
    show(in_any_order(graph, first, jobs))
    left = affected(graph, changed(graph) if first else stale)
    show(in_any_order(graph, left, jobs), len(left))
    if not first | left:
        say("Nothing changed: all outputs are up to date.")


def show(ends: Iterator[Done], total: int = 0) -> None:
    """Print a line for each stage, and what it said; `UserError` for one that failed, once all others have ended."""
    failed = None
    for number, done in enumerate(ends, start=1):
        say(f"{f'[{number}/{total}] ' if total else ''}{done.stage} {done.seconds:.1f} s")
        if done.complained:
            say(done.complained, err=True)
        if done.said:
            say(done.said)
        failed = failed or (done.stage if done.failed else None)
    if failed:
        raise UserError(f"the stage {failed} failed, as said above: `structalign repro` goes on from there.")


def stages() -> Graph:
    """The stages that `dvc repro` covers: those of dvc.yaml and what they need."""
    dot = run_dvc("dag", "--dot")
    needs: dict[str, set[str]] = {name: set() for name in NODE.findall(dot) if "/" not in name}
    for before, after in EDGE.findall(dot):
        if after in needs and before in needs:
            needs[after].add(before)
    return needs


def changed(graph: Graph) -> set[str]:
    """The stages whose inputs, outputs or command are not those of dvc.lock."""
    return set(json.loads(run_dvc("status", "--json"))) & set(graph)


def affected(graph: Graph, stages: set[str]) -> set[str]:
    """The stages and all that need them, directly or not."""
    found = set(stages)
    while more := {stage for stage, needs in graph.items() if needs & found} - found:
        found |= more
    return found


def lengths(graph: Graph) -> dict[str, int]:
    """How many stages the longest way from a stage to one that nothing needs has."""
    found = dict.fromkeys(graph, 1)
    for _ in graph:
        for stage, needs in graph.items():
            for before in needs:
                found[before] = max(found[before], found[stage] + 1)
    return found


def in_any_order(graph: Graph, left: set[str], jobs: int) -> Iterator[Done]:
    """Reproduce the stages, those that most others wait for first; after one that fails none begins."""
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
    """Have DVC reproduce a stage by itself."""
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "--quiet", "--single-item", stage]
    start = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    seconds, complained = time.monotonic() - start, done.stderr.strip("\n")
    if done.returncode and not complained:  # DVC itself refused, and quiet it gives no reason
        try:
            run_dvc("repro", "--single-item", stage)
        except UserError as error:
            complained = str(error)
    return Done(stage, seconds, done.returncode != 0, done.stdout.strip("\n"), complained)
