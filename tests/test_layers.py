"""Allowed imports: the layers, and one module for each large third-party library."""

import pytest
from codemap import closure, graph, imported, modules

GROUND = {
    "paths",
    "code_digest",
    "code_seen",
    "code_map",
    "collector",
    "dvc_command",
    "dvc_files",
    "errors",
    "extras",
    "fingerprint",
    "item_cache",
    "formats",
    "gathered",
    "heap",
    "machine",
    "packing",
    "params",
    "preprocessing",
    "presets",
    "store",
    "console",
    "costs",
    "seeds",
    "scratch",
    "strict_yaml",
    "templates",
    "text",
}
MAY_SEE = {
    "ground": {"ground"},
    "data": {"ground", "data"},
    "doctor": {"ground", "data", "doctor"},
    "model": {"ground", "model"},
    "search": {"ground", "data", "model", "search"},
    "library": {"ground", "data", "model", "search", "library"},
    "learning": {"ground", "data", "model", "search", "learning"},
    "evaluation": {"ground", "data", "model", "search", "evaluation"},
    "report": {"ground", "evaluation", "report"},
    "sweep": {"ground", "data", "model", "search", "learning", "evaluation", "report", "sweep"},
    "serve": {"ground", "data", "model", "search", "library", "serve"},
    "cli": {
        "ground",
        "data",
        "doctor",
        "model",
        "search",
        "library",
        "learning",
        "evaluation",
        "report",
        "sweep",
        "serve",
        "cli",
    },
    "stages": {"ground", "data", "model", "search", "learning", "evaluation", "report"},
}
DOORS = {
    "psutil": "structalign.doctor.processes",
    "transformers": "structalign.model.backbone",
    "ffmpeg": "structalign.data.decoding.command",
    "imageio_ffmpeg": "structalign.data.decoding.command",
    "dvc": "structalign.report.revisions",
    "qdrant_client": "structalign.library.engines.qdrant",
    "uvicorn": "structalign.serve.server",
    "fastapi": "structalign.serve",
}
WITHOUT_TORCH = ("check", "prepare", "frames", "evaluate", "report")
TORCH = {"torch", "transformers", "safetensors.torch", "torchmetrics"}


def floor(name: str) -> str:
    """The layer of a module."""
    if name.startswith("stages."):
        return "stages"
    part = name.split(".")[1]
    return "ground" if part in GROUND else part


@pytest.mark.parametrize("name", sorted(modules()))
def test_a_module_only_imports_its_layer_and_those_below(name: str) -> None:
    above = {other for other in graph()[name] if floor(other) not in MAY_SEE[floor(name)]}
    assert not above, f"{name} must not import {sorted(above)}"


def test_there_are_no_import_cycles() -> None:
    edges = graph()
    round_trips = {name for name in edges for other in edges[name] if name in closure(other)}
    assert not round_trips


def test_nothing_is_imported_from_a_package_itself() -> None:
    """Otherwise a stage depends on all that the package loads, and a reader cannot see where a name is defined."""
    packages = {name.rpartition(".")[0] for name in modules()}
    for name in modules():
        hidden = {
            found
            for found in imported(name)
            if found.rpartition(".")[0] in packages and found not in modules() and found not in packages
        }
        assert not hidden, f"{name} imports {sorted(hidden)}: name the module that holds it"


@pytest.mark.parametrize(("library", "door"), DOORS.items())
def test_each_large_third_party_library_is_imported_by_one_module(library: str, door: str) -> None:
    guests = {name for name in modules() if any(found.split(".")[0] == library for found in imported(name))}
    assert not {name for name in guests if not f"{name}.".startswith(f"{door}.")}


@pytest.mark.parametrize("stage", WITHOUT_TORCH)
def test_a_stage_that_does_not_compute_starts_without_torch(stage: str) -> None:
    heavy = {name for name in closure(f"stages.{stage}") if _first_parts(imported(name)) & TORCH}
    assert not heavy


def test_a_new_metric_runs_evaluate_and_neither_train_nor_embed() -> None:
    stages = {name for name in modules() if name.startswith("stages.") and name != "stages"}
    guests = {stage for stage in stages if "structalign.evaluation.metrics" in closure(stage)}
    assert guests == {"stages.evaluate", "stages.report", "stages.joint"}


def _first_parts(names: set[str]) -> set[str]:
    return names | {name.split(".")[0] for name in names}


def test_only_the_check_imports_all_sections() -> None:
    """A stage that saw every section would run again for every new loss."""
    guests = {name for name, others in graph().items() if "structalign.params.schema" in others}
    commands = {f"structalign.cli.{name}" for name in ("init", "migrate", "params", "preset")}
    others = {"structalign.presets", "structalign.learning.reference.settings", "structalign.report.revisions"}
    others |= {"structalign.doctor.settings", "structalign.sweep.file"}
    assert guests == {"stages.check"} | commands | others
