import json
import logging
import math
import re
import resource
import subprocess
import sys

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ngu import run_folder
from ngu.run_folder import RunFolder, default_run_path


def rows_of(folder):
    return [json.loads(line) for line in (folder.path / "metrics.jsonl").read_text().splitlines()]


def scalars_of(folder, tag):
    events = EventAccumulator(str(folder.path))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(tag)]


@pytest.fixture
def folder(tmp_path):
    return RunFolder.create(tmp_path / "runs" / "a", config="seed: 3\n", seed=3)


def test_new_folder_holds_what_made_it(folder):
    assert (folder.path / "config.yaml").read_text() == folder.config == "seed: 3\n"
    versions = json.loads((folder.path / "versions.json").read_text())
    assert versions["seed"] == 3
    (start,) = versions["started"]
    assert start["python"] == ".".join(map(str, sys.version_info[:3]))
    assert start["command"] == sys.argv
    for package in ("torch", "gymnasium", "ale-py", "faiss-cpu", "numpy", "never-give-up"):
        assert re.match(r"\d+\.\d+", start["packages"][package])
    assert list(folder.checkpoints.paths()) == []


def test_existing_folder_is_refused_and_left_alone(tmp_path):
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"taken.*--resume .*taken.*--run-dir"):
        RunFolder.create(taken, config="", seed=0)
    assert [path.name for path in taken.iterdir()] == ["mine.txt"]
    with pytest.raises(FileExistsError, match=r"mine\.txt"):
        RunFolder.create(taken / "mine.txt", config="", seed=0)


def test_existing_empty_folder_is_taken(tmp_path):
    RunFolder.create(tmp_path, config="", seed=0)
    assert (tmp_path / "config.yaml").exists()


def test_open_finds_seed_settings_and_checkpoints_and_changes_nothing(folder):
    saved = folder.checkpoints.save(4, {"x": 1})
    before = {path: path.stat().st_mtime_ns for path in folder.path.rglob("*")}
    opened = RunFolder.open(folder.path)
    assert (opened.seed, opened.config) == (3, "seed: 3\n")
    assert opened.checkpoints.latest() == (saved, {"x": 1})
    assert {path: path.stat().st_mtime_ns for path in folder.path.rglob("*")} == before


def test_a_folder_is_held_by_one_process(folder):
    holding = "from ngu.run_folder import RunFolder; import sys\n"
    holding += "with RunFolder.open(sys.argv[1]).held(): print('held', flush=True); input()"
    command = [sys.executable, "-c", holding, str(folder.path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "held\n"
        message = rf"another process is training in {folder.path}"
        with pytest.raises(BlockingIOError, match=message), folder.held():
            pass
        other.kill()
    with folder.held():
        pass


@pytest.mark.parametrize("content", [[], ["config.yaml"]])
def test_open_of_no_run_folder(tmp_path, content):
    for name in content:
        (tmp_path / name).write_text("")
    with pytest.raises(FileNotFoundError, match="is no run folder: it has no"):
        RunFolder.open(tmp_path)
    assert len(list(tmp_path.iterdir())) == len(content)


def test_log_points_reach_both_files(folder):
    folder.log({"frames": 40, "steps": 10, "episode_return": None, "loss/value": 0.5})
    folder.log(
        {"frames": np.int64(80), "steps": 20, "episode_return": np.float32(2), "loss/value": 0.25}
    )
    assert rows_of(folder) == [
        {"frames": 40, "steps": 10, "episode_return": None, "loss/value": 0.5},
        {"frames": 80, "steps": 20, "episode_return": 2.0, "loss/value": 0.25},
    ]
    assert scalars_of(folder, "loss/value") == [(40, 0.5), (80, 0.25)]
    assert scalars_of(folder, "episode_return") == [(80, 2.0)]


def test_what_is_not_finite_is_null_in_json(folder):
    folder.log({"frames": 1, "steps": 1, "a": math.nan, "b": math.inf, "c": np.float32("-inf")})
    assert rows_of(folder) == [{"frames": 1, "steps": 1, "a": None, "b": None, "c": None}]
    folder.finish({"best": math.nan, "returns": [1.0, math.inf], "by": {0: np.float64(2.0)}})
    summary = json.loads((folder.path / "summary.json").read_text())
    assert summary == {"best": None, "returns": [1.0, None], "by": {"0": 2.0}}


def test_bad_metrics_are_named_and_not_written(folder):
    with pytest.raises(ValueError, match="steps"):
        folder.log({"frames": 1})
    with pytest.raises(TypeError, match=r"metrics\['a'\] is of type str"):
        folder.log({"frames": 1, "steps": 1, "a": "x"})
    assert not (folder.path / "metrics.jsonl").exists()


def test_resuming_drops_what_came_after_the_checkpoint(folder):
    for steps in (10, 20, 30):
        folder.log({"frames": 4 * steps, "steps": steps, "a": float(steps)})
    folder.finish({"steps": 30})
    resumed = RunFolder.open(folder.path)
    resumed.resume(20)
    assert [row["steps"] for row in rows_of(resumed)] == [10, 20]
    assert not (folder.path / "summary.json").exists()
    resumed.log({"frames": 120, "steps": 30, "a": -30.0})
    assert [row["a"] for row in rows_of(resumed)] == [10.0, 20.0, -30.0]
    assert scalars_of(resumed, "a") == [(40, 10.0), (80, 20.0), (120, -30.0)]
    started = json.loads((folder.path / "versions.json").read_text())["started"]
    assert [start.get("steps") for start in started] == [None, 20]


def test_resuming_without_a_checkpoint_starts_the_log_anew(folder):
    folder.log({"frames": 4, "steps": 1, "a": 1.0})
    folder.resume(0)
    assert rows_of(folder) == []
    folder.log({"frames": 4, "steps": 1, "a": 2.0})
    assert scalars_of(folder, "a") == [(4, 2.0)]


def test_row_cut_off_by_a_crash_is_left_out(folder, caplog):
    folder.log({"frames": 4, "steps": 1})
    with (folder.path / "metrics.jsonl").open("a") as file:
        file.write('{"frames": 8, "st')
    with caplog.at_level(logging.WARNING):
        folder.resume(5)
    assert "unreadable row" in caplog.text
    folder.log({"frames": 8, "steps": 2})
    assert rows_of(folder) == [{"frames": 4, "steps": 1}, {"frames": 8, "steps": 2}]


def test_full_disk_loses_log_points_and_no_more(folder, caplog):
    folder.log({"frames": 4, "steps": 1, "a": 1.0})
    size = (folder.path / "metrics.jsonl").stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, hard))
    try:
        folder.log({"frames": 8, "steps": 2, "a": 2.0})
        folder.log({"frames": 12, "steps": 3, "a": 3.0})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    folder.log({"frames": 16, "steps": 4, "a": 4.0})
    assert [row["steps"] for row in rows_of(folder)] == [1, 4]
    assert scalars_of(folder, "a") == [(4, 1.0), (16, 4.0)]
    assert caplog.text.count("log points are lost from step 2 on") == 1


def test_commit_is_that_of_the_packages_own_checkout(tmp_path, monkeypatch):
    monkeypatch.setattr(run_folder, "__file__", str(tmp_path / "ngu" / "run_folder.py"))
    assert run_folder._commit() == {}

    def git(*command):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        done = subprocess.run(
            ["git", "-C", str(tmp_path), *identity, *command],
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "first")
    head = git("rev-parse", "HEAD")
    assert run_folder._commit() == {"commit": head, "modified": False}
    (tmp_path / "new.py").write_text("")
    assert run_folder._commit() == {"commit": head, "modified": True}
    monkeypatch.setenv("PATH", "")
    assert run_folder._commit() == {}


def test_default_name_says_what_runs():
    path = default_run_path("ALE/Pong-v5", "ngu", 7, "runs")
    assert re.fullmatch(r"runs/ALE-Pong-v5-ngu-seed7-\d{8}-\d{6}", path.as_posix())
