"""The training command's promises, in real processes where a signal or a kill is at stake."""

import json
import os
import random
import signal
import time
from functools import partial
from pathlib import Path

import pytest
import torch

from ngu import training
from ngu.run_folder import RunFolder
from ngu.train import main
from ngu_envs import WorkerDiedError
from tests.small_runs import DEEP_SEA, SHORT, TINY, newest, rows_of

DISCO_MAZE = ["--env", "disco-maze", "--options.size", 7, *TINY]
FOR_EVER = 10**9
EVERY_ROW = {
    "frames", "steps", "seconds", "steps_per_second", "episode_return", "episodes",
    "intrinsic_reward", "episodic_novelty", "lifelong_modulator", "loss/value",
}  # fmt: skip


@pytest.fixture
def command(run_command):
    """Runs the command in an empty folder; returns its exit code and what it wrote."""
    return partial(run_command, main)


def until(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_killed_at_twenty_random_moments_it_goes_on_as_if_nothing_had_been(trainings, tmp_path):
    moments = random.Random(5)
    run, output = tmp_path / "killed", tmp_path / "output"
    often = ["--frames", FOR_EVER, "--checkpoint.seconds", 0.05]
    begin = [*DISCO_MAZE, *often, "--run-dir", run]
    reached = []
    for life in range(20):
        process = trainings.start(*(begin if life == 0 else ["--resume", run]), output=output)
        until((run / "versions.json").exists)
        time.sleep(moments.uniform(0.2, 1.4))
        os.kill(process, signal.SIGKILL)
        assert trainings.wait(process) == -signal.SIGKILL, output.read_text()
        checkpoint = newest(run)
        reached.append(0 if checkpoint is None else int(checkpoint.stem.removeprefix("step-")))
    assert reached == sorted(reached)
    assert len(set(reached)) > 5
    frames = reached[-1] + 200
    assert trainings.run("--resume", run, "--frames", frames, output=output) == 0
    whole = tmp_path / "whole"
    frames_too = ["--frames", frames, "--run-dir", whole]
    assert trainings.run(*DISCO_MAZE, *frames_too, output=output) == 0
    assert rows_of(run) == rows_of(whole)
    assert any(row["loss/value"] is not None for row in rows_of(run))


def test_the_same_seed_gives_the_same_metrics_to_the_last_bit(trainings, tmp_path):
    rows = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        words = [*DEEP_SEA, "--frames", 500, "--seed", seed, "--run-dir", tmp_path / name]
        assert trainings.run(*words, output=tmp_path / "output") == 0
        rows.append(rows_of(tmp_path / name))
    assert rows[0] == rows[1]
    assert rows[0] != rows[2]


def test_a_finished_run_leaves_all_that_it_promises(trainings, tmp_path):
    run = tmp_path / "run"
    words = [*DISCO_MAZE, "--frames", 420, "--seed", 3, "--run-dir", run]
    assert trainings.run(*words, output=tmp_path / "output") == 0
    said = (tmp_path / "output").read_text()
    assert f"settings: disco-maze; run folder: {run}" in said
    summary = json.loads((run / "summary.json").read_text())
    frames = summary["frames"]
    assert 420 <= frames == summary["steps"] <= 421
    assert f"done: {frames} frames in {run}" in said
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["steps"] // 50 for row in rows] == [*range(1, 9), 8]
    assert rows[-1]["frames"] == frames
    for row in rows:
        assert row.keys() >= EVERY_ROW | {"coverage"}
    assert rows[0]["loss/value"] is None
    assert rows[-1]["loss/value"] is not None
    assert (summary["env"], summary["agent"], summary["seed"]) == ("disco-maze", "ngu", 3)
    assert summary["episodes"] >= rows[-1]["episodes"] > 0
    assert summary.keys() >= {"seconds", "episode_return", "episode_return_best", "coverage"}
    assert json.loads((run / "versions.json").read_text())["seed"] == 3
    assert "features: 8" in (run / "config.yaml").read_text()
    assert len(list(run.glob("events.out.*"))) == 1
    assert newest(run) == run / "checkpoints" / f"step-{frames:012}.safetensors"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_says_how_to_go_on(trainings, tmp_path, number):
    run, output = tmp_path / "run", tmp_path / "output"
    words = [*DEEP_SEA, "--frames", FOR_EVER, "--run-dir", run]
    process = trainings.start(*words, output=output)
    until((run / "metrics.jsonl").exists)
    os.kill(process, number)
    assert trainings.wait(process) == 128 + number
    said = output.read_text()
    assert "stopping: a checkpoint is being written; once more stops at once" in said
    assert f"go on with: python -m ngu.train --resume {run}" in said
    assert not (run / "summary.json").exists()
    checkpoint = newest(run)
    assert checkpoint is not None
    frames = int(checkpoint.stem.removeprefix("step-")) + 100
    assert trainings.run("--resume", run, "--frames", frames, output=output) == 0
    whole = tmp_path / "whole"
    assert trainings.run(*DEEP_SEA, "--frames", frames, "--run-dir", whole, output=output) == 0
    assert rows_of(run) == rows_of(whole)


def test_a_second_signal_stops_at_once(monkeypatch, capfd):
    def leave(code):
        raise SystemExit(code)

    monkeypatch.setattr(training.os, "_exit", leave)
    before = signal.getsignal(signal.SIGTERM)
    with training.Stop() as stop:
        assert stop.signal is None
        signal.raise_signal(signal.SIGTERM)
        assert stop.signal == signal.SIGTERM
        with pytest.raises(SystemExit) as left:
            signal.raise_signal(signal.SIGINT)
    assert left.value.code == 130
    assert "stopped at once; the last checkpoint is whole" in capfd.readouterr().err
    assert signal.getsignal(signal.SIGTERM) is before


def flip_last_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("what", ["checkpoint", "replay"])
def test_the_checkpoint_before_a_damaged_one_is_used(trainings, tmp_path, what):
    run, output = tmp_path / "run", tmp_path / "output"
    assert trainings.run(*DEEP_SEA, "--frames", 200, "--run-dir", run, output=output) == 0
    old_files = set((run / "checkpoints" / "replay").iterdir())
    assert trainings.run("--resume", run, "--frames", 330, output=output) == 0
    damaged = newest(run)
    assert damaged is not None
    if what == "checkpoint":
        flip_last_byte(damaged)
    else:
        new_files = set((run / "checkpoints" / "replay").iterdir()) - old_files
        assert new_files
        for file in new_files:
            flip_last_byte(file)
    assert trainings.run("--resume", run, "--frames", 400, output=output) == 0
    said = output.read_text()
    assert "damaged checkpoint passed over" in said
    assert damaged.name in said
    assert "step-000000000200.safetensors, at 200 steps" in said
    assert not damaged.exists()
    whole = tmp_path / "whole"
    assert trainings.run(*DEEP_SEA, "--frames", 400, "--run-dir", whole, output=output) == 0
    assert rows_of(run) == rows_of(whole)


def test_without_a_whole_checkpoint_it_does_not_go_on(trainings, tmp_path):
    run, output = tmp_path / "run", tmp_path / "output"
    assert trainings.run(*DEEP_SEA, "--frames", 60, "--run-dir", run, output=output) == 0
    for path in (run / "checkpoints").glob("step-*"):
        path.write_bytes(path.read_bytes()[:-100])
    before = (run / "metrics.jsonl").read_bytes()
    assert trainings.run("--resume", run, "--frames", 100, output=output) == 2
    assert "no checkpoint in" in output.read_text()
    assert "Traceback" not in output.read_text()
    assert (run / "metrics.jsonl").read_bytes() == before


def test_a_run_killed_before_its_first_checkpoint_begins_anew(trainings, tmp_path):
    run, output = tmp_path / "run", tmp_path / "output"
    process = trainings.start(*DEEP_SEA, "--frames", 300, "--run-dir", run, output=output)
    until((run / "versions.json").exists)
    os.kill(process, signal.SIGKILL)
    trainings.wait(process)
    assert newest(run) is None
    assert trainings.run("--resume", run, output=output) == 0
    assert "it begins anew" in output.read_text()
    assert len(rows_of(run)) == 6


def test_a_full_disk_costs_checkpoints_and_not_the_run(trainings, tmp_path):
    run, output = tmp_path / "run", tmp_path / "output"
    assert trainings.run(*DEEP_SEA, "--frames", 100, "--run-dir", run, output=output) == 0
    checkpoint = newest(run)
    assert checkpoint is not None
    before = checkpoint.read_bytes()
    more = ["--resume", run, "--frames", 300, "--checkpoint.seconds", 0.05]
    limit = len(before) // 2
    assert trainings.run(*more, output=output, largest_file=limit) == 0
    assert "error: no checkpoint was written, the one before stays: " in output.read_text()
    assert newest(run) == checkpoint
    assert checkpoint.read_bytes() == before
    assert not list((run / "checkpoints").glob(".step-*"))
    assert [row["steps"] for row in rows_of(run)] == [50, 100, 150, 200, 250, 300]
    assert json.loads((run / "summary.json").read_text())["frames"] == 300


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_its_checkpoints(trainings, tmp_path):
    run, output = tmp_path / "run", tmp_path / "output"
    # The first update throws the weights so far that the second one's loss overflows.
    diverging = [*DEEP_SEA, "--learning.learning_rate", "1e30", "--run-dir", run]
    assert trainings.run(*diverging, "--frames", 30, output=output) == 0
    checkpoint = newest(run)
    assert checkpoint is not None
    before = checkpoint.read_bytes()
    assert trainings.run("--resume", run, "--frames", 2000, output=output) == 2
    said = output.read_text()
    assert "error: loss/value is " in said
    assert "the last checkpoint is from before it" in said
    assert "Traceback" not in said
    assert newest(run) == checkpoint
    assert checkpoint.read_bytes() == before
    assert not (run / "summary.json").exists()


def test_a_dead_worker_ends_training_with_a_sentence(command, monkeypatch):
    def run(self, stop):
        raise WorkerDiedError("the Atari worker 7 of environments 0 to 1 ended with code -9")

    monkeypatch.setattr(training.Training, "run", run)
    code, said = command(*DEEP_SEA, "--frames", 60)
    assert code == 1
    assert "worker 7 of environments 0 to 1 ended with code -9; --resume goes on" in said


def test_two_processes_do_not_train_in_one_folder(finished, command):
    with RunFolder.open(finished).held():
        code, said = command("--resume", finished, "--frames", 90)
    assert code == 2
    assert f"another process is training in {finished}" in said


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (["--env", "disco-maze"], "the run was made with env deep-sea"),
        (["--learning.hidden", 9], "the run was made with learning.hidden 8, it cannot go on"),
        (["--options.size", 6], "the run was made with options.size 5"),
        (["--num-envs", 3], "the run was made with num_envs 2"),
        (["--agent", "random"], "the run was made with agent ngu"),
        (["--run-dir", "other"], "the run was made with run_dir"),
    ],
)
def test_going_on_with_other_settings_is_refused(finished, command, change, sentence):
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    code, said = command("--resume", finished, *change)
    assert code == 2
    assert sentence in said
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*")} == before


def test_settings_changed_in_the_folder_itself_are_noticed(trainings, tmp_path):
    run, output = tmp_path / "run", tmp_path / "output"
    assert trainings.run(*DEEP_SEA, "--frames", 60, "--run-dir", run, output=output) == 0
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("hidden: 8", "hidden: 9"))
    assert trainings.run("--resume", run, "--frames", 90, output=output) == 2
    assert "does not fit the settings in" in output.read_text()
    assert "Traceback" not in output.read_text()


@pytest.mark.parametrize("folder", ["finished", "file", "config only"])
def test_a_folder_that_exists_is_left_alone(finished, command, tmp_path, folder):
    path = finished
    if folder != "finished":
        path = tmp_path / "taken"
        path.mkdir()
        (path / "config.yaml").write_text("mine")
        path = path / "config.yaml" if folder == "file" else path
    before = {file: file.stat().st_mtime_ns for file in path.rglob("*")}
    code, said = command(*DEEP_SEA, "--frames", 30, "--run-dir", path)
    assert code == 2
    assert f"the run folder {path} exists and is not empty" in said
    assert {file: file.stat().st_mtime_ns for file in path.rglob("*")} == before


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--resume", "nowhere"], "nowhere is no run folder: it has no config.yaml"),
        (["--resume"], "--resume needs a value"),
        (["--env", "Montezuma"], "the closest names are MontezumaRevenge"),
        (["--env", "Pendulum-v1"], "action_space must be Discrete"),
        (["--env", "deep-sea", "--frames", 0], "frames must be at least 1, got 0"),
        (["--env", "deep-sea", "--device", "cuda"], "torch finds no CUDA device"),
        (["--env", "deep-sea", "--replay.capacity_gb", 1e6, "--replay.capacity_steps", 10**11],
         "lower capacity_gb"),
        (["--env", "deep-sea", "--learning.bonus_batch_size", -1],
         "bonus_batch_size must be at least 0, got -1"),
        (["--env", "CartPole-v1", "--options.foo", 3], "CartPole-v1 has no option 'foo'"),
        (["--env", "deep-sea", "--run-dir", "/dev/null/run"], "Not a directory"),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence_and_leaves_nothing(
    command, tmp_path, monkeypatch, arguments, sentence
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    code, said = command(*arguments)
    assert code == 2
    assert sentence in said
    assert len(said.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_damaged_versions_are_named(finished, command, tmp_path):
    run = RunFolder.create(tmp_path / "run", config="env: deep-sea\n", seed=0).path
    (run / "versions.json").write_text("{")
    code, said = command("--resume", run)
    assert code == 2
    assert "versions.json is damaged" in said


def test_the_random_agent_and_environments_that_cannot_be_restored_go_on_too(trainings, tmp_path):
    run, output = tmp_path / "run", tmp_path / "output"
    maze = "MiniGrid-Empty-Random-5x5-v0"
    words = ["--env", maze, "--agent", "random", *SHORT, "--run-dir", run]
    assert trainings.run(*words, "--frames", 200, output=output) == 0
    assert trainings.run("--resume", run, "--frames", 400, output=output) == 0
    assert "these environments cannot be restored: new episodes begin" in output.read_text()
    rows = rows_of(run)
    assert [row["steps"] // 50 for row in rows] == list(range(1, 9))
    assert all(row["intrinsic_reward"] is None for row in rows)


@pytest.mark.parametrize("agent", ["archive", "archive-ngu"])
def test_an_archive_goes_on_as_if_nothing_had_been(trainings, tmp_path, agent):
    learned = SHORT if agent == "archive" else [*TINY, "--learning.archive.explore_steps", 4]
    words = ["--env", "deep-sea", "--agent", agent, "--options.size", 6, *learned]
    runs = {name: tmp_path / name for name in ("stopped", "whole")}
    for name, frames in (("stopped", 300), ("whole", 600)):
        output = tmp_path / f"{name} output"
        run = ["--frames", frames, "--run-dir", runs[name]]
        assert trainings.run(*words, *run, output=output) == 0, output.read_text()
    assert trainings.run("--resume", runs["stopped"], "--frames", 600, output=output) == 0
    assert rows_of(runs["stopped"]) == rows_of(runs["whole"])
    last = rows_of(runs["whole"])[-1]
    assert last["cells"] > 10
    assert last["episode_return"] is None  # what it explores begins anywhere
    if agent == "archive":
        return
    assert last["updates"] > 10
    assert last["loss/value"] is not None
    # Without the replay exploration begins anew, and the archive stays.
    more = ["--frames", 650, "--checkpoint.replay", "false"]
    assert trainings.run("--resume", runs["whole"], *more, output=output) == 0, output.read_text()
    assert rows_of(runs["whole"])[-1]["cells"] >= last["cells"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["--env", "MiniGrid-Empty-5x5-v0"],
            "goes back to saved states, which MiniGrid-Empty-5x5-v0 has none of",
        ),
        (["--env", "disco-maze"], "disco-maze draws chance at its steps; Atari games without"),
        (
            ["--env", "Pong", "--options.protocol", "sticky"],
            "without sticky actions (--options.protocol paper), deep-sea, CartPole, MountainCar",
        ),
        (
            ["--env", "Pong", "--agent", "archive-ngu", "--options.frame_stack", 4],
            "options.frame_stack must be 1, got 4",
        ),
        (["--env", "deep-sea", "--learning.spill_folder", "nowhere"], "must be a folder that"),
        (["--env", "deep-sea", "--learning.explore_steps", 0], "explore_steps must be at least 1"),
        (["--env", "deep-sea", "--novelty.epsilon", 3], "no option --novelty.epsilon"),
    ],
)
def test_what_an_archive_cannot_do(command, tmp_path, words, sentence):
    code, said = command("--agent", "archive", *words, "--run-dir", "run")
    assert code == 2
    assert sentence in said
    assert not (tmp_path / "run").exists()


WORLD_MODELS = [
    *("--agent", "world-models", "--env", "disco-maze", "--options.size", 17, *SHORT),
    *("--options.max_steps", 20),
    *("--learning.collected", 60, "--learning.vae.latent_dim", 3, "--learning.rnn.hidden", 8),
    *("--learning.seeing.epochs", 5, "--learning.seeing.batch_size", 16),
    *("--learning.predicting.updates", 20, "--learning.predicting.sequence_length", 8),
    *("--learning.population", 4, "--learning.rollouts", 1),
]


def test_world_models_stopped_in_each_stage_go_on_as_if_nothing_had_been(trainings, tmp_path):
    output, whole, stopped = (tmp_path / name for name in ("output", "whole", "stopped"))
    run = [*WORLD_MODELS, "--log.steps", 10, "--frames"]
    assert trainings.run(*run, 200, "--run-dir", whole, output=output) == 0, output.read_text()
    assert {row["stage"] for row in rows_of(whole)} == {0, 1, 3}
    assert trainings.run(*run, 20, "--run-dir", stopped, output=output) == 0
    stages = [rows_of(stopped)[-1]["stage"]]
    for frames in (40, 49, 200):
        more = ["--resume", stopped, "--frames", frames]
        assert trainings.run(*more, output=output) == 0, output.read_text()
        stages.append(rows_of(stopped)[-1]["stage"])
    assert stages == [0, 1, 2, 3]
    assert rows_of(stopped)[-1] == rows_of(whole)[-1]
    assert rows_of(whole)[-1]["generation"] > 1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--options.size", 15], "must be at least 16 pixels high and wide, got 15 x 15"),
        (["--env", "CartPole-v1"], "the world-models agent sees pictures of bytes, got Box"),
        (["--learning.collected", 10], "a batch of 16 pictures beside the 1 held out, got 10"),
        (["--learning.rnn.hidden", 0], "learning.rnn.hidden must be at least 1, got 0"),
        (["--learning.population", 2], "learning.population must be at least 4, got 2"),
        (["--novelty.epsilon", 3], "no option --novelty.epsilon"),
    ],
)
def test_what_world_models_cannot_do(command, tmp_path, words, sentence):
    words = [*WORLD_MODELS, *words] if "--env" not in words else ["--agent", "world-models", *words]
    code, said = command(*words, "--run-dir", "run")
    assert code == 2
    assert sentence in said
    assert not (tmp_path / "run").exists()


def test_help_and_print_config_end_well(command, capsys, tmp_path):
    for words, expected in (
        (["--help"], "Environments that step together."),
        (["--env", "disco-maze", "--print-config"], "env: disco-maze"),
    ):
        with pytest.raises(SystemExit) as left:
            command(*words)
        assert left.value.code == 0
        assert expected in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
