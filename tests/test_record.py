"""The command that records: what it writes is what happened, and what it refuses."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import torch

from ngu.analysis import load
from ngu.analysis.dataset_file import read_about
from ngu.record import main
from ngu.train import main as train
from ngu.world.vae import ConvVAE, VAEConfig

SEA = ("--env", "deep-sea", "--options.size", "6")


def run_of(run_command, *arguments):
    code, told = run_command(
        train, *SEA, "--frames", "64", "--num-envs", "2", "--seed", "0", "--run-dir", "run",
        "--log.steps", "32", *arguments,
    )  # fmt: skip
    assert code == 0, told
    return "run"


def near_is_right(data):
    """Each neighbour is the state of the same episode that it says, at the distance it says."""
    checked = 0
    for episode in np.unique(data.episodes):
        rows = np.flatnonzero(data.episodes == episode)
        np.testing.assert_array_equal(data.steps[rows], np.arange(len(rows)))
        for row in rows:
            known = data.neighbours.step[row] >= 0
            assert known.sum() == min(data.steps[row], data.neighbours.step.shape[1])
            others = rows[data.neighbours.step[row][known]]
            assert (others < row).all()
            squares = np.square(data.embeddings[others] - data.embeddings[row]).sum(1)
            distances = data.neighbours.squared_distance[row]
            np.testing.assert_allclose(distances[known], squares, rtol=1e-4, atol=1e-5)
            assert np.isinf(distances[~known]).all()
            assert (data.neighbours.kernel[row][~known] == 0).all()
            checked += int(known.sum())
    assert checked


def test_a_run_is_recorded_with_the_embedding_and_the_novelty_that_it_was_paid_by(run_command):
    run = run_of(run_command)
    code, told = run_command(main, run, "--steps", "90", "--num-envs", "3", "--policies", "0,1")
    assert code == 0, told
    data = load("run")  # the dataset is where the run's folder is asked for it
    assert data.embeddings.shape == (90, 32)
    assert data.source == "run"
    near_is_right(data)
    first = data.steps == 0
    for name in ("intrinsic_reward", "episodic_novelty", "lifelong_modulator"):
        np.testing.assert_array_equal(np.isnan(data.figures[name]), first)
    np.testing.assert_allclose(
        data.figures["intrinsic_reward"][~first],
        (data.figures["episodic_novelty"] * data.figures["lifelong_modulator"])[~first],
        rtol=1e-6,
    )
    np.testing.assert_array_equal(data.labels["row"], data.steps)
    column = data.labels["column"]
    for row, frame in enumerate(data.frames[i] for i in range(len(data.frames))):
        assert frame.shape == (6, 6, 3)
        lit = np.argwhere(frame[:, :, 0])
        expected = [[data.steps[row], column[row]]] if data.steps[row] < 6 else []
        assert lit.tolist() == expected
    table = pd.read_parquet("run/states")
    assert set(table["policy"]) == {0, 1}
    np.testing.assert_array_equal(table["action"].isna(), table["step"] == 0)
    moved = table[table["step"] > 0]
    assert set(moved["action"]) <= {0, 1}
    about = read_about("run/states")
    assert (about.env, about.agent) == ("deep-sea", "ngu")
    assert about.embedding == "inverse dynamics, what the bonus NGU measures in"
    assert set(about.labels) == {"row", "column"}
    code, told = run_command(main, run, "--steps", "90")
    assert code == 2
    assert "exists and is not empty" in told


def test_a_run_without_an_embedding_is_recorded_with_another(run_command):
    run = run_of(run_command, "--agent", "ppo", "--bonus", "rnd")
    code, told = run_command(main, run, "--steps", "40", "--num-envs", "2")
    assert code == 2
    assert "is paid by RND, which embeds no states: give --embedding random" in told
    code, told = run_command(
        main, run, "--steps", "40", "--num-envs", "2", "--embedding", "random", "--out", "out"
    )
    assert code == 0, told
    data = load("out")
    near_is_right(data)
    assert {"intrinsic_reward", "episodic_novelty", "reward"} <= set(data.figures)
    known = data.figures["episodic_novelty"][data.steps > 0]
    assert np.isfinite(known).all()
    assert (known > 0).all()


def test_an_autoencoder_embeds_by_its_means(run_command):
    vae = ConvVAE((3, 21, 21), VAEConfig(latent_dim=5))
    vae.save("vae.safetensors")
    code, told = run_command(
        main, "--env", "disco-maze", "--steps", "33", "--num-envs", "4",
        "--embedding", "vae.safetensors", "--out", "out",
    )  # fmt: skip
    assert code == 0, told
    data = load("out")
    frames = np.stack([data.frames[i] for i in range(33)]).transpose(0, 3, 1, 2)
    with torch.no_grad():
        posterior = vae.encode(torch.from_numpy(np.ascontiguousarray(frames)))
    np.testing.assert_allclose(data.embeddings, posterior.mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(data.stds, posterior.std, rtol=1e-4)
    shown = frames.reshape(33, -1)
    alike = (shown[:, None] == shown).all(-1)
    contents = data.frames.contents()
    np.testing.assert_array_equal(contents[:, None] == contents, alike)
    assert alike.sum() < 33**2
    agents = (frames == 255).all(1).reshape(33, -1).argmax(1)
    np.testing.assert_array_equal(agents, 21 * data.labels["row"] + data.labels["column"])
    code, told = run_command(
        main, "--env", "CartPole-v1", "--embedding", "vae.safetensors", "--out", "other"
    )
    assert code == 2
    assert "embeds pictures of shape [3, 21, 21], which observations" in told


def test_atari_is_recorded_with_its_screen_and_memory(run_command):
    code, told = run_command(
        main, "--env", "MontezumaRevenge", "--steps", "200", "--num-envs", "2", "--out", "out"
    )
    assert code == 0, told
    data = load("out")
    assert data.embeddings.shape == (200, 32)
    near_is_right(data)
    assert data.frames[0].shape == (210, 160, 3)
    table = pd.read_parquet("out").sort_values(["episode", "step"])
    ram = np.stack(table["ram"])
    assert ram.shape == (200, 128)
    for name, byte in (("room", 3), ("player_x", 42), ("player_y", 43)):
        np.testing.assert_array_equal(data.labels[name], ram[:, byte])
    assert (data.labels["room"] == 1).all()
    assert len(np.unique(data.labels["player_x"])) > 3


def test_what_only_renders_is_rendered(run_command):
    code, told = run_command(
        main, "--env", "MiniGrid-Empty-5x5-v0", "--steps", "12", "--num-envs", "2", "--out", "out"
    )
    assert code == 0, told
    assert load("out").frames[3].shape[0] > 20
    code, told = run_command(
        main, "--env", "CartPole-v1", "--steps", "12", "--num-envs", "2", "--out", "pole"
    )
    assert code == 0, told
    assert load("pole").frames is None
    assert load("pole").labels == {}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "one of RUN and --env must be given, got neither"),
        (("run", "--env", "deep-sea"), "one of RUN and --env must be given, got both"),
        (("missing",), "missing is no run folder"),
        (("--env", "Montezuma"), "the closest names are MontezumaRevenge"),
        (("--env", "deep-sea", "--embedding", "bonus"), "pays no bonus, which embeds no states"),
        (("--env", "deep-sea", "--embedding", "x"), "--embedding must be bonus, random or the"),
        (
            ("--env", "deep-sea", "--embedding", "config.yaml"),
            "config.yaml: truncated, or no checkpoint",
        ),
        (("--env", "deep-sea", "--epsilon", "2"), "--epsilon must be a number in [0, 1], got 2"),
        (("--env", "deep-sea", "--out", "config.yaml"), "config.yaml exists and is not empty"),
    ],
)
def test_what_cannot_be_recorded_gets_a_sentence(run_command, arguments, says, tmp_path):
    (tmp_path / "config.yaml").write_text("something else")
    code, told = run_command(main, *arguments)
    assert code == 2
    assert says in told


def test_what_is_killed_in_the_middle_can_be_read(tmp_path):
    command = [sys.executable, "-m", "ngu.record", "--env", "deep-sea", "--steps", "10000000"]
    process = subprocess.Popen([*command, "--out", "out"], cwd=tmp_path)
    try:
        limit = time.monotonic() + 200
        while len(list(tmp_path.glob("out/part-*"))) < 2 and time.monotonic() < limit:
            assert process.poll() is None
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
    data = load(tmp_path / "out", limit=400)
    # What was being written is not there, or beside it under another name.
    assert all(path.name.startswith((".", "part-")) for path in (tmp_path / "out").iterdir())
    assert data.rows == 2_000 * len(list((tmp_path / "out").glob("part-*.parquet"))) >= 4_000
    near_is_right(data)


def test_what_is_interrupted_is_kept(run_command, monkeypatch):
    def show(bar, done):
        if done > 100:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("ngu.record.Bar.show", show)
    code, told = run_command(main, "--env", "deep-sea", "--out", "out")
    assert code == 130
    data = load("out")
    assert 100 < data.rows < 200
    assert f"stopped: {data.rows} states are in out" in told
    near_is_right(data)


def test_states_are_recorded_while_training_and_after_it_was_gone_on_with(run_command):
    run_of(run_command, "--states.environments", "1", "--novelty.episodes_per_memory", "1")
    code, told = run_command(train, "--resume", "run", "--frames", "128")
    assert code == 0, told
    for begun, steps in (("from-step-0", 64), ("from-step-64", 64)):
        folder = f"run/training-states/{begun}"
        data = load(folder)
        near_is_right(data)
        # One of two environments, and an episode of it had begun before.
        assert 0 < len(data.embeddings) < steps / 2 + 8
        first = data.steps == 0
        np.testing.assert_array_equal(np.isnan(data.figures["intrinsic_reward"]), first)
        np.testing.assert_array_equal(data.labels["row"], data.steps)
        table = pd.read_parquet(folder)
        np.testing.assert_array_equal(table["action"].isna(), table["step"] == 0)
        assert read_about(folder).origin["steps"] == int(begun.removeprefix("from-step-"))


def test_training_records_no_states_of_what_embeds_none(run_command):
    for words in (("--bonus", "rnd"), ("--bonus", "none"), ("--agent", "archive")):
        code, told = run_command(
            train, *SEA, *words, "--frames", "64", "--states.environments", "1", "--run-dir", "run"
        )
        assert code == 2
        assert "embeds no states" in told
    code, told = run_command(train, *SEA, "--num-envs", "2", "--states.environments", "3")
    assert code == 2
    assert "at most num_envs, 2" in told
