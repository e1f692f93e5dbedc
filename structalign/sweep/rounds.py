"""The runs that a sweep makes, and the settings that it chooses.

Every setting runs at the first seed. For each method, the `finalists` settings with the highest R@1 on the split run at
the other seeds too. Of these, the one with the highest mean R@1 over all seeds is chosen. Ties go to the first in the
file. A setting with a failed run is not chosen. A run that trained no parameter (zero-shot CLIP) needs no other seed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from structalign.sweep.file import Plan, Setting
from structalign.sweep.queue import Queue, Run
from structalign.text import plural


@dataclass(frozen=True)
class Done:
    """A setting and its successful runs.

    failed: the errors of the other runs. complete: whether the setting ran at all seeds.
    """

    setting: Setting
    runs: Sequence[Mapping[str, Any]]
    failed: Sequence[str]
    complete: bool

    @property
    def recall(self) -> float:
        """Mean R@1 on the split over its runs, or -1 without runs."""
        return mean([run["measures"][self.setting.method]["R@1"] for run in self.runs]) if self.runs else -1.0

    @property
    def trained(self) -> bool:
        """Whether its runs trained parameters. Otherwise they are equal at all seeds."""
        return any(run["trained_parameters"] for run in self.runs)


def rule(plan: Plan) -> str:
    """How the settings are chosen, as a sentence."""
    if plan.finalists is None:
        return f"Chosen: the setting of each method with the highest mean R@1 ({plan.split}) over its seeds."
    return (
        f"Chosen: of each method's {plural(plan.finalists, 'setting')} with the highest R@1 ({plan.split}) at seed "
        f"{plan.seeds[0]}, the one with the highest mean over its seeds."
    )


def play(plan: Plan, queue: Queue) -> list[Done]:
    """Make all runs of a plan in rounds. Returns every setting with its runs, in the file's order."""
    first = plan.seeds[0]
    queue.make([Run(setting, first, plan.split) for setting in plan.settings], f"seed {first}")
    begun = [_done(queue, setting, [first]) for setting in plan.settings]
    final = finalists(plan, begun)
    seeds = [_seeds(plan, one) if one.setting in final else [first] for one in begun]
    later = [Run(one.setting, seed, plan.split) for one, own in zip(begun, seeds, strict=True) for seed in own[1:]]
    if later:
        queue.make(later, "other seeds")
    return [_done(queue, one.setting, own, one.setting in final) for one, own in zip(begun, seeds, strict=True)]


def finalists(plan: Plan, done: Sequence[Done]) -> list[Setting]:
    """The settings that go on to all seeds, in the file's order."""
    chosen: list[Setting] = []
    for method in dict.fromkeys(setting.method for setting in plan.settings):
        ended = [one for one in done if one.setting.method == method and not one.failed]
        ranked = sorted(ended, key=lambda one: -one.recall)  # stable, so ties go to the first in the file
        chosen += [one.setting for one in ranked[: plan.finalists]]
    return [setting for setting in plan.settings if setting in chosen]


def winners(done: Sequence[Done]) -> dict[str, Done]:
    """The chosen setting of each method that has one."""
    found: dict[str, Done] = {}
    for one in done:
        method = one.setting.method
        if one.complete and not one.failed and (method not in found or one.recall > found[method].recall):
            found[method] = one
    return found


def _seeds(plan: Plan, begun: Done) -> list[int]:
    """The seeds at which a setting runs if it goes on, from its run at the first seed."""
    return plan.seeds_of(begun.setting.method) if begun.trained else plan.seeds[:1]


def _done(queue: Queue, setting: Setting, seeds: Sequence[int], complete: bool = False) -> Done:
    runs = [Run(setting, seed, queue.split) for seed in seeds]
    results = [queue.result(run) for run in runs]
    failed = [f"{queue.file(run)}: {one['failed']}" for run, one in zip(runs, results, strict=True) if "failed" in one]
    return Done(setting, [one for one in results if "failed" not in one], failed, complete)
