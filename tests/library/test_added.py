"""Videos added to a project are found at once and remain found. DVC's outputs and evaluation ignore them."""

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from codemap import ROOT
from library_case import clip_folder, plain
from safetensors.torch import load_file
from tiny import DIM, FRAMES, begin_task, finish_task, noise
from typer.testing import CliRunner
from videos import ffmpeg, maker

import structalign
from structalign.cli.add import app
from structalign.data.tasks import category_ids, split_categories, write_tasks
from structalign.errors import UserError
from structalign.formats import INDEX_FORMAT
from structalign.library import parts, project_parts, table_writing, video_index
from structalign.library.added import add, add_again, listing, remove, sampler_of
from structalign.library.agreement import agreement
from structalign.library.candidates import Mode
from structalign.library.chain import read_chain
from structalign.library.compacting import compact
from structalign.library.project_index import ProjectIndex
from structalign.library.sampling import Sampler
from structalign.library.store import SHARDS, writing
from structalign.library.table import open_table
from structalign.model.checkpoint import OWN, CheckpointConfig, fingerprint, read_config, save_checkpoint
from structalign.model.video_text import TextEmbeddings
from structalign.paths import ADDED
from structalign.search.fusion import fuse, of_system
from structalign.search.index import Index, write_gallery, write_index, write_signals
from structalign.search.scoring import score_queries
from structalign.search.signal import observe
from structalign.search.similarity_heads import HEADS
from structalign.store import read_json, write_json

TASKS = split_categories(["red", "blue", "green", "white"], 2)


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny CLIP."""
    return clip_folder(tmp_path_factory.mktemp("clip"))


@pytest.fixture
def project(tmp_path: Path, clip: Path) -> Path:
    """A project after the first of two tasks, with one stored test clip."""
    root = tmp_path / "project"
    shutil.copytree(clip, root / "work/backbone")
    shutil.copy(ROOT / "params.yaml", root)
    write_tasks(TASKS, root / "tasks.yaml")
    (root / "checkpoints/t00").mkdir(parents=True)
    save_checkpoint(root / "checkpoints/t00", CheckpointConfig("tiny"), {}, {})
    write_json(root / "work/index/t00.json", {"format": INDEX_FORMAT, "galleries": []})
    learn(root, 1)
    return root


def learn(root: Path, number: int) -> None:
    """Train a task without data, and store one of its clips, as `dvc repro` does."""
    training = root.parent / "training"
    finish_task(training, begin_task(training, "structalign", number))
    key = f"t{number:02d}"
    shutil.copytree(training / str(number), root / "checkpoints" / key)
    config = read_json(root / "checkpoints" / key / "config.json")
    del config[OWN]  # the hash of the config as it was
    until = dict(list(TASKS.items())[:number])
    write_json(root / "checkpoints" / key / "config.json", config | {"categories": category_ids(until)})
    store(root, number)


def store(root: Path, number: int) -> None:
    key, folder = f"t{number:02d}", root / f"work/gallery/t{number:02d}"
    folder.mkdir(parents=True, exist_ok=True)
    row = {"id": f"{key}.mp4", "file": f"{key}.mp4", "category": 2 * number - 2, "start": 0.0, "duration": 3.0}
    rows = [row | {"times": [0.5, 1.5, 2.5], "task": key}]
    write_gallery(folder, "test", rows, noise(1, FRAMES, DIM, seed=number), noise(1, FRAMES, DIM, seed=number + 9))
    write_gallery(folder, "val", [], torch.empty(0), torch.empty(0))
    mask = torch.ones(4, 2, dtype=torch.bool)
    captions = TextEmbeddings(noise(4, 2, DIM, seed=number), mask, noise(4, DIM), torch.arange(8).view(4, 2))
    write_signals(folder, observe(captions, 2 * number - 2 + torch.tensor([0, 0, 1, 1]), number))
    index = root / f"work/index/{key}.json"
    before = root / f"work/index/t{number - 1:02d}.json"
    relative = Path("work/gallery") / key
    write_index(index, before, key, folder, fingerprint(root / "checkpoints" / key))
    values = read_json(index)
    values["galleries"][-1]["folder"] = str(relative)
    write_json(index, values)
    write_json(
        root / f"work/manifest/{key}/videos.json", {"videos": [{"id": f"{key}.mp4", "sha256": f"{number}" * 64}]}
    )


@pytest.fixture
def video(tmp_path: Path) -> Path:
    (tmp_path / "mine").mkdir()
    made: Path = maker(tmp_path / "mine")("red.mp4", plain("red", 5))
    return made


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """A folder of three videos."""
    folder = tmp_path / "films"
    folder.mkdir()
    make = maker(folder)
    for colour in ("blue", "green", "white"):
        make(f"{colour}.mp4", plain(colour, 4))
    return folder


def put(project: Path, *paths: Path, category: str | None = None) -> list[str]:
    """Add files. Returns the paths that were encoded."""
    chain = read_chain(project)
    return add(chain, sampler_of(chain), paths, category).encoded


def found(project: Path, after: str | None = None) -> list[str]:
    """The names of the files that a search finds."""
    return [Path(hit.file).name for hit in structalign.open_index(project, after).search("red")]


def contents(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.rglob("*")
        if file.is_file() and ADDED not in file.relative_to(folder).parents
    }


def test_added_videos_are_found_at_once_and_the_project_does_not_change(project: Path, video: Path) -> None:
    before = contents(project)
    assert put(project, video, category="red") == [str(video)]
    assert sorted(found(project)) == ["red.mp4", "t01.mp4"]
    assert contents(project) == before
    assert (project / ADDED / ".gitignore").read_text() == "*\n"
    assert [(Path(row.file), row.category, row.task) for row in listing(project)] == [(video, "red", 1)]


def test_evaluation_s_gallery_never_has_added_videos(project: Path, video: Path) -> None:
    before = structalign.open_index(project, split="test").search("red")
    put(project, video)
    assert structalign.open_index(project, split="test").search("red") == before


def test_videos_added_before_another_task_are_found_without_being_encoded_again(
    project: Path, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(project, video)
    learn(project, 2)
    monkeypatch.setattr(Sampler, "describe", lambda *_: pytest.fail("it was encoded again"))
    video.unlink()  # not even the file is read
    assert sorted(found(project)) == ["red.mp4", "t01.mp4", "t02.mp4"]
    index = ProjectIndex(project)
    hit = next(hit for hit in index.search("red") if hit.file == str(video))
    words = structalign.load(project / "checkpoints/t02").encode_text(["red"], task=1).words
    explained, _ = index._explained("red", index.entries.place(hit.id) or 0)
    assert torch.equal(explained.words[explained.mask], words[explained.mask])  # asked as the task that encoded it


def test_a_search_as_of_an_earlier_task_finds_no_video_that_a_later_model_encoded(project: Path, video: Path) -> None:
    learn(project, 2)
    put(project, video)
    assert "red.mp4" in found(project)
    assert found(project, after="t01") == ["t01.mp4"]


def test_after_retraining_a_search_names_the_command_that_encodes_again(project: Path, video: Path) -> None:
    put(project, video, category="red")
    save_anew(project)
    with pytest.raises(UserError, match=r"trained again: `structalign add --again`"):
        structalign.open_index(project)
    assert found_in_test(project) == ["t01.mp4"]
    chain = read_chain(project)
    assert add_again(chain, sampler_of(chain)).encoded == [str(video)]
    assert sorted(found(project)) == ["red.mp4", "t01.mp4"]
    assert [row.category for row in listing(project)] == ["red"]


def test_an_index_opened_again_after_retraining_searches_with_the_new_model(project: Path) -> None:
    index = ProjectIndex(project)
    before = index.search("red")
    save_anew(project)
    assert index.newer()
    assert index.reopened().search("red") == ProjectIndex(project).search("red") != before


def test_a_model_that_was_replaced_before_its_first_use_is_refused(project: Path) -> None:
    index = ProjectIndex(project)
    save_anew(project)
    with pytest.raises(UserError, match=r"has changed since its index was opened: open the index again"):
        index.search("red")


def test_a_video_added_after_retraining_by_an_older_index_counts_as_the_older_model_s(
    project: Path, video: Path
) -> None:
    index = ProjectIndex(project)
    index.search("red")
    save_anew(project)
    index.add([video])
    with pytest.raises(UserError, match=r"trained again: `structalign add --again`"):
        structalign.open_index(project)


def found_in_test(project: Path) -> list[str]:
    return [hit.file for hit in structalign.open_index(project, split="test").search("red")]


def save_anew(project: Path) -> None:
    """Replace the first task's model by another one."""
    folder = project / "checkpoints/t01"
    adapters = load_file(folder / "adapters.safetensors")
    save_checkpoint(folder, read_config(folder), {name: 1.5 * tensor for name, tensor in adapters.items()}, {})
    store(project, 1)


def test_search_and_evaluation_give_bit_identical_scores(project: Path) -> None:
    folder, index = project / "work/gallery/t01", project / "work/index/t01.json"
    rows = read_json(folder / "test.json")["videos"]
    rows = [rows[0] | {"id": f"{number}.mp4", "file": f"{number}.mp4"} for number in range(37)]
    write_gallery(folder, "test", rows, noise(37, FRAMES, DIM), noise(37, FRAMES, DIM, seed=1))
    videos = [{"id": row["id"], "sha256": row["id"]} for row in rows]
    write_json(project / "work/manifest/t01/videos.json", {"videos": videos})
    params = (project / "params.yaml").read_text(encoding="utf-8")
    (project / "params.yaml").write_text(params.replace("_prior: 0 ", "_prior: 1 "), encoding="utf-8")
    model = structalign.load(project / "checkpoints/t01")
    known = model.encoder.zero_shot(model.tokeniser(["red", "a blue"]))
    observed = observe(known, torch.tensor([0, 1]), 1)
    write_signals(folder, observed | {f"{name}_prior.task": torch.tensor([1, 2]) for name in ("task", "word")})
    previous, entry = project / "work/index/t00.json", read_json(index)["galleries"][0]
    write_index(index, previous, "t01", folder, entry["encoder"])
    asked = [" ".join(["green", "red", "blue", "a"][: 1 + number % 4]) for number in range(70)]
    searched = ProjectIndex(project, split="test")
    encoder, tokens = searched.retriever.encoder, searched.retriever.tokeniser(asked)
    opened = Index(index)
    found = score_queries(encoder, tokens, opened.galleries("test"), opened.states, "evaluated")
    signals = of_system({name: matrix.numpy() for name, matrix in found.items()}, "method", searched.weights)
    evaluated = fuse(signals, searched.weights)
    for number in (0, 1, 2, 3, 66):
        scores = {hit.file: hit.score for hit in searched.search(asked[number], top=37)}
        assert [scores[row["file"]] for row in rows] == evaluated[number].tolist()


def test_a_file_with_known_content_is_named_and_not_encoded(project: Path, video: Path, tmp_path: Path) -> None:
    copy = shutil.copy(video, tmp_path / "copy.mp4")
    own = {"videos": [{"id": "t01.mp4", "sha256": hashlib.sha256(video.read_bytes()).hexdigest()}]}
    put(project, video)
    chain = read_chain(project)
    assert add(chain, sampler_of(chain), [copy]).duplicates == [(str(copy), str(video))]
    write_json(project / "work/manifest/t01/videos.json", own)
    assert add(chain, sampler_of(chain), [video]).duplicates == [(str(video), "t01.mp4 of captions.csv")]


def test_removing_hides_a_video_compacting_erases_it_and_its_file_stays(project: Path, video: Path) -> None:
    put(project, video)
    assert remove(project, [str(video)]) == [str(video)]
    assert found(project) == ["t01.mp4"]
    assert list((project / ADDED / SHARDS).iterdir())
    with writing(project / ADDED, {}) as writer:
        compact(writer)
    assert not list((project / ADDED / SHARDS).iterdir())
    assert video.exists()
    assert put(project, video) == [str(video)]
    assert "red.mp4" in found(project)


def test_adding_a_removed_video_again_does_not_encode_it(
    project: Path, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(project, video)
    remove(project, [str(video)])
    monkeypatch.setattr(Sampler, "describe", lambda *_: pytest.fail("it was encoded again"))
    put(project, video)
    assert "red.mp4" in found(project)


def test_other_files_of_an_added_folder_are_counted_and_named_ones_are_listed(project: Path, tmp_path: Path) -> None:
    (folder := tmp_path / "mixed").mkdir()
    for name in ("song.m4a", "other.m4a"):
        ffmpeg("-f", "lavfi", "-i", "sine=duration=0.2", folder / name)
    (folder / "notes.txt").write_text("words\n", encoding="utf-8")
    chain = read_chain(project)
    summary = add(chain, sampler_of(chain), [folder, folder / "song.m4a"])
    assert summary.skipped == {"sounds": 1, "other files": 1}
    assert [Path(path).name for path in summary.broken] == ["song.m4a"]


@pytest.mark.parametrize("name", ["t01.mp4", "missing.mp4"])
def test_removing_a_video_that_was_not_added_is_refused(project: Path, video: Path, name: str) -> None:
    put(project, video)
    with pytest.raises(UserError, match=f"{name} was not added"):
        remove(project, [str(video), name])
    assert "red.mp4" in found(project)


def test_a_long_file_is_found_by_segments_with_the_model_s_number_of_frames(project: Path, tmp_path: Path) -> None:
    long = maker(tmp_path)("long.mp4", "testsrc=size=48x48:rate=5:duration=50,format=yuv420p")
    put(project, long)
    index = ProjectIndex(project)
    spans = [(entry.start, entry.end) for entry in index.entries.rows if entry.file == str(long)]
    assert spans == [(0, 20), (20, 40), (40, 50)]
    assert structalign.open_index(project).search("red", top=5)[0].moments
    assert [*index._parts][-1].gallery.frames.shape[1:] == (FRAMES, DIM)


@pytest.mark.parametrize("seconds", [2, 10])
def test_a_word_meets_frames_at_times_within_their_segment(project: Path, tmp_path: Path, seconds: int) -> None:
    """A segment has one sampled frame a second, and the model's number of stored ones."""
    put(project, maker(tmp_path)("film.mp4", f"testsrc=size=48x48:rate=5:duration={seconds},format=yuv420p"))
    index = ProjectIndex(project)
    (found,) = (hit.moments[0] for hit in index.search("red", top=5) if hit.file.endswith("film.mp4"))
    times, words = index.word_frames("red", found.id)
    assert len(times) == FRAMES
    assert times == sorted(times)
    assert all(found.start <= at <= found.end for at in times)
    assert found.at == times[int(np.argmax(words[0][1]))]


def test_a_project_with_the_rows_of_its_added_videos_on_disk_finds_the_same(
    project: Path, films: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = read_chain(project)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table_writing, "LEAST", 1)
        add(chain, sampler_of(chain), [films], "red")
    learn(project, 2)  # the added videos stay encoded by the first task
    stored = ProjectIndex(project)
    assert stored.table is not None
    monkeypatch.setattr(project_parts, "open_table", lambda *_: None)
    whole = ProjectIndex(project)
    assert list(stored.entries.rows) == list(whole.entries.rows)
    assert (stored.files, len(stored), stored.newer()) == (whole.files, len(whole), False)
    modes: list[Mode] = ["exact", "candidates"]
    monkeypatch.setattr(parts, "VECTORS", 2 * FRAMES)  # two videos at a time
    for mode in modes:
        one, other = stored.search("red", mode=mode), whole.search("red", mode=mode)
        assert [hit.id for hit in one] == [hit.id for hit in other]
        assert [hit.score for hit in one] == pytest.approx([hit.score for hit in other], abs=1e-3)
    for entry in whole.entries.rows:
        assert [hit.id for hit in stored.similar(entry.id)] == [hit.id for hit in whole.similar(entry.id)]
        if entry.split == "added":
            assert stored.word_frames("red", entry.id) == whole.word_frames("red", entry.id)


def test_the_rows_on_disk_follow_every_change_of_a_large_project(
    project: Path, films: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_writing, "LEAST", 1)
    put(project, films)
    save_anew(project)
    chain = read_chain(project)
    assert len(add_again(chain, sampler_of(chain)).encoded) == 3
    assert open_table(project / ADDED) is not None
    remove(project, [str(films / "blue.mp4")])
    assert open_table(project / ADDED) is not None
    with writing(project / ADDED, {}) as writer:
        compact(writer)
    assert open_table(project / ADDED) is not None
    assert sorted(found(project)) == ["green.mp4", "t01.mp4", "white.mp4"]


def test_candidates_of_a_project_have_nearly_the_scores_of_exact_ranking(project: Path, films: Path) -> None:
    chain = read_chain(project)
    add(chain, sampler_of(chain), [films])
    index = ProjectIndex(project)
    exact, among = index.search("red", mode="exact"), index.results("red", mode="candidates")
    assert [hit.id for hit in among.hits] == [hit.id for hit in exact]
    assert [hit.score for hit in among.hits] == pytest.approx([hit.score for hit in exact], abs=1e-3)
    assert (among.candidates, among.more) == (len(index), False)


ADDED_TO = "candidates agree with exact ranking in 1.000 of the top 10, in 1.000 of the first (1 sentence)"


@pytest.mark.parametrize("large", [False, True])
def test_candidates_are_checked_when_videos_are_added_to_a_project_that_is_searched_by_them(
    project: Path, films: Path, monkeypatch: pytest.MonkeyPatch, large: bool
) -> None:
    (project / "data").mkdir()
    (project / "data/captions.csv").write_text("video,caption\nt01.mp4,red\n")
    if large:
        monkeypatch.setattr(video_index, "BUDGET", 0)
    done = CliRunner().invoke(app, [str(films), "--project", str(project)], catch_exceptions=False)
    assert (done.exit_code, ADDED_TO in " ".join(done.output.split())) == (0, large), done.output


def test_adding_succeeds_though_the_project_cannot_be_searched_after_retraining(
    project: Path, video: Path, films: Path
) -> None:
    put(project, video)
    save_anew(project)
    done = CliRunner().invoke(app, [str(films), "--project", str(project)], catch_exceptions=False)
    assert done.exit_code == 0
    assert "3 files encoded" in done.stdout
    assert done.stderr.startswith("note: ")
    assert "trained again: `structalign add --again`" in done.stderr
    assert len(listing(project)) == 4


def test_the_self_test_ends_when_its_time_is_over(project: Path) -> None:
    sentences = [("red", "t01"), ("blue", "t02"), ("green", None)]
    assert [row.sentences for row in agreement(ProjectIndex(project), sentences)] == [1, 1, 3]
    assert [row.sentences for row in agreement(ProjectIndex(project), sentences, seconds=0)] == [1, 1]


def test_a_push_is_named_when_videos_are_added_while_qdrant_finds_the_candidates(
    project: Path, films: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRUCTALIGN_QDRANT", "http://127.0.0.1:9")
    done = CliRunner().invoke(app, [str(films), "--project", str(project)], catch_exceptions=False)
    assert f"structalign index push --project {project}" in done.output.replace("\n", "")


def test_learned_pooling_has_no_candidates(project: Path) -> None:
    index = ProjectIndex(project)
    index.retriever = replace(index.retriever, encoder=replace(index.retriever.encoder, head=HEADS["pooled"]))
    with pytest.raises(UserError, match="pools the frames"):
        index.search("red", mode="candidates")
    with pytest.raises(UserError, match="pools the frames"):
        index.push()
    assert index.mode() == "exact"
