"""The command that trains an autoencoder, in a real process where a signal is at stake."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial

import numpy as np
import pytest
import torch

from ngu.run_folder import RunFolder
from ngu.train_vae import main
from ngu.world.vae import ConvVAE

SHORT = ["--training.batch_size", 16, "--vae.latent_dim", 4, "--device", "cpu"]
MAZE = ["--env", "disco-maze", "--options.size", 17, "--num-envs", 2]


@pytest.fixture
def command(run_command):
    """Runs the command in an empty folder; returns its exit code and what it wrote."""
    return partial(run_command, main)


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_what_a_run_leaves(command, tmp_path):
    words = [*MAZE, *SHORT, "--frames", 200, "--training.epochs", 2, "--run-dir", "run"]
    code, said = command(*words)
    assert code == 0
    assert "collecting: 200 of 200" in said
    assert "training: 22 of 22" in said  # 190 pictures beside those held out
    assert "on 10 pictures held out: squared error" in said
    run = tmp_path / "run"
    summary = json.loads((run / "summary.json").read_text())
    assert summary.keys() == {
        "squared_error", "kl", "active_units", "evidence", "bits_per_dimension",
        "pictures_per_second",
    }  # fmt: skip
    assert len(summary["kl"]) == 4
    for sheet in ("reconstructions", "samples", "traversals", "interpolations"):
        assert (run / f"{sheet}.png").read_bytes().startswith(b"\x89PNG")
    vae = ConvVAE.load(run / "vae.safetensors")
    assert vae.observation_shape == (3, 17, 17)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["steps"] == 22
    # It is done: to go on with it changes nothing.
    before = (run / "vae.safetensors").read_bytes()
    code, _ = command("--resume", "run")
    assert code == 0
    assert (run / "vae.safetensors").read_bytes() == before
    again = json.loads((run / "summary.json").read_text())
    assert again["pictures_per_second"] > 0
    assert again["squared_error"] == summary["squared_error"]


@pytest.mark.parametrize("said_before", ["collecting", "training"])
def test_stopped(tmp_path, said_before):
    """Ctrl-C keeps what was collected, and says how to go on."""
    words = [*MAZE, *SHORT, "--frames", 20_000, "--training.epochs", 1000, "--run-dir", "run"]
    if said_before == "training":
        np.savez(tmp_path / "pictures.npz", noise(60, 16, 16, 3))
        words = ["--data", "pictures.npz", *SHORT, "--training.epochs", 1000, "--run-dir", "run"]
    start = [sys.executable, "-m", "ngu.train_vae", *map(str, words)]
    with subprocess.Popen(
        start,
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    ) as process:
        wanted = (
            tmp_path / "run" / ("pictures.safetensors" if said_before == "training" else ".lock")
        )
        while not wanted.exists() and process.poll() is None:
            time.sleep(0.01)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        said = process.communicate()[1]
    assert process.returncode == 130, said
    assert "go on with: python -m ngu.train_vae --resume run" in said
    assert (tmp_path / "run" / "pictures.safetensors").stat().st_size > 1000
    assert not (tmp_path / "run" / "vae.safetensors").exists()


def test_resumed_is_uninterrupted(command, tmp_path, monkeypatch):
    np.savez(tmp_path / "pictures.npz", noise(60, 16, 16, 3))
    words = ["--data", "pictures.npz", *SHORT, "--training.epochs", 4]
    assert command(*words, "--run-dir", "whole")[0] == 0

    from ngu import train_vae

    class StopAtFive(train_vae.VAETraining):
        def __iter__(self):
            for metrics in super().__iter__():
                if self.updates == 5:
                    os.kill(os.getpid(), signal.SIGINT)
                yield metrics

    with monkeypatch.context() as patch:
        patch.setattr(train_vae, "VAETraining", StopAtFive)
        assert command(*words, "--run-dir", "stopped")[0] == 130
    assert command("--resume", "stopped")[0] == 0
    whole, resumed = (
        ConvVAE.load(tmp_path / run / "vae.safetensors") for run in ("whole", "stopped")
    )
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "one of env and data must be given, got none"),
        (["--env", "disco-maze", "--data", "x.npz"], "one of env and data must be given, got both"),
        (["--env", "disko-maze"], "no environment is called 'disko-maze'; the closest"),
        (["--env", "CartPole-v1"], "observations must be pictures of bytes, got Box"),
        (
            ["--env", "disco-maze", "--options.size", 9],
            "at least 16 pixels high and wide, got 9 x 9",
        ),
        (["--env", "disco-maze", "--size", 8], "size must be at least 16, got 8"),
        (["--env", "disco-maze", "--frames", 0], "frames must be at least 1, got 0"),
        (["--env", "disco-maze", "--vae.beta", -1], "vae.beta must be at least 0, got -1"),
        (
            ["--env", "disco-maze", "--vae.likelihood", "laplace"],
            "must be one of gaussian, logistic",
        ),
        (["--env", "disco-maze", "--vae.bta", 2], "there is no option --vae.bta; the closest"),
        ([*MAZE, "--frames", 10], "a batch of 256 pictures beside the 1 held out, got 10 in all"),
        (["--data", "few.npz"], "a batch of 256 pictures beside the 1 held out, got 20 in all"),
        (["--data", "nothing.npz"], "nothing.npz"),
        (["--resume", "nowhere"], "nowhere is no run folder"),
        (["--resume", "other"], "other is no run of train_vae: there is no setting agent"),
    ],
)
def test_what_the_user_has_to_mend(command, tmp_path, words, sentence):
    np.savez(tmp_path / "few.npz", noise(20, 16, 16, 3))
    RunFolder.create(tmp_path / "other", config="agent: ngu", seed=0)
    given = words if "--resume" in words else [*words, "--run-dir", "run"]
    code, said = command(*given)
    assert code == 2
    assert sentence in said
    assert not (tmp_path / "run").exists()
