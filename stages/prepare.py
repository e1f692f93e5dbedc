"""Divide the captions table among the tasks, hash the videos, and copy or download the backbone.

No later stage needs a network.
"""

from structalign.console import command
from structalign.data.captions import against_tasks, read_captions
from structalign.data.collection import MISSING
from structalign.data.manifest_writer import hash_files, refuse_shared, same_content, write_manifest
from structalign.data.pretrained import gather, refuse_sample_clip
from structalign.data.tasks import read_tasks
from structalign.errors import UserError
from structalign.formats import CHECKPOINT_FORMAT, INDEX_FORMAT
from structalign.params.data import DataParams
from structalign.params.reading import read
from structalign.paths import CHECKPOINTS, DATA, MANIFEST, index_of
from structalign.store import whole_folder, write_json
from structalign.text import plural


def main() -> None:
    """Write work/manifest, work/backbone and the empty task 0, from which the first task starts."""
    tasks = read_tasks()
    name = read("backbone.name", str)
    rows = read_captions(DATA, tasks)
    refuse_sample_clip(name, rows)
    hashes, absent = hash_files(rows, DATA / "videos")
    missing = [row for row in rows if row.video not in hashes]
    if missing and read("data", DataParams).on_broken == "stop":
        first = missing[0]
        hint = absent[first.video].removeprefix(MISSING)
        what = f"does not exist{hint}" if hint != absent[first.video] else f"is left out: {hint}"
        raise UserError(
            f"captions.csv, row {first.number}: {DATA / 'videos' / first.video} {what}: "
            "add it, delete its rows, or set `data.on_broken: skip`."
        )
    lost = against_tasks([row for row in rows if row.video in hashes], tasks)
    if lost:
        raise UserError(f"captions.csv: without the {plural(len(missing), 'row')} whose file is missing, {lost[0]}.")
    duplicates = same_content(rows, hashes)
    refuse_shared(duplicates)
    gather(name)
    with whole_folder(MANIFEST) as part:
        write_manifest(rows, tasks, hashes, part, duplicates, absent)
    if missing:
        gone, all_files = len({row.video for row in missing}), len({row.video for row in rows})
        print(f"{gone} of {all_files} files are missing and left out: {MANIFEST / 'report.json'} lists them")
    write_json(CHECKPOINTS / "t00" / "config.json", {"format": CHECKPOINT_FORMAT, "backbone": name})
    write_json(index_of("t00"), {"format": INDEX_FORMAT, "galleries": []})


if __name__ == "__main__":
    command(main)
