"""Demonstrations from the command line: written from an archive, learned from, and what is none."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from ngu.demonstrate import main as demonstrate
from ngu.parsing import parse
from ngu.parts import without_chance
from ngu.train import main
from ngu_agents.archive.demonstrated import Shown
from tests.small_runs import DEEP_SEA, SHORT, TINY, newest, rows_of


@pytest.fixture
def command(run_command):
    """Runs a training in an empty folder; returns its exit code and what it wrote."""
    return partial(run_command, main)


@pytest.fixture(scope="module")
def demonstrations(trainings, tmp_path_factory):
    """A file of demonstrations on deep-sea, of an archive's run beside it."""
    folder = tmp_path_factory.mktemp("archive")
    words = ["--env", "deep-sea", "--agent", "archive", "--options.size", 5, *SHORT]
    run = ["--frames", 2000, "--run-dir", folder / "run"]
    assert trainings.run(*words, *run, output=folder / "output") == 0
    few = ("--sweeps", "2", "--states", "4", "--spacing", "2", "--num-envs", "3")
    assert demonstrate([str(folder / "run"), *few]) == 0
    return folder / "run" / "demonstrations.safetensors"


def test_demonstrations_have_a_share_in_the_training(trainings, demonstrations, tmp_path):
    words = [
        *DEEP_SEA,
        "--learning.demonstrations",
        demonstrations,
        "--learning.demonstration_updates",
        40,
    ]
    runs = {name: tmp_path / name for name in ("stopped", "whole")}
    for name, frames in (("stopped", 300), ("whole", 500)):
        output = tmp_path / f"{name} output"
        run = ["--frames", frames, "--run-dir", runs[name]]
        assert trainings.run(*words, *run, output=output) == 0, output.read_text()
    assert trainings.run("--resume", runs["stopped"], "--frames", 500, output=output) == 0
    rows = rows_of(runs["whole"])
    assert rows_of(runs["stopped"]) == rows
    shown = [row["loss/demonstration"] for row in rows if "loss/demonstration" in row]
    assert 0 < shown[-1] < shown[0]


def test_a_policy_takes_part_in_what_it_learns_from_next(
    trainings, run_command, demonstrations, tmp_path
):
    run, few = tmp_path / "run", ("--sweeps", 1, "--states", 4, "--spacing", 2, "--num-envs", 3)
    learned = tmp_path / "demonstrations.safetensors"
    learned.write_bytes(demonstrations.read_bytes())
    words = ["--learning.demonstrations", learned, "--learning.demonstration_updates", 60]
    output = tmp_path / "output"
    assert trainings.run(*DEEP_SEA, *words, "--frames", 200, "--run-dir", run, output=output) == 0
    before = Shown.load(learned)
    code, said = run_command(demonstrate, demonstrations.parent, "--policy", run, *few)
    assert code == 0, said
    after = Shown.load(learned)
    assert after.steps > before.steps
    count = len(before.demonstrated.action)
    assert len(after.demonstrated.action) > count
    np.testing.assert_array_equal(after.demonstrated.frames[:count], before.demonstrated.frames)
    assert trainings.run("--resume", run, "--frames", 300, output=output) == 0, output.read_text()
    words = (demonstrations.parent, "--policy", run, *few, "--out")
    code, said = run_command(demonstrate, *words, demonstrations)
    assert code == 2
    assert "exists already" in said
    after._replace(env="noisy-tv").save(learned)
    code, said = run_command(demonstrate, *words, "more")
    assert code == 2
    assert "is noisy-tv, that of the run is deep-sea" in said


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--env", "noisy-tv"], "is deep-sea, that of the run is noisy-tv"),
        (["--options.size", 6], "is (1, 5, 5), that of the run is (1, 6, 6)"),
        (["--learning.demonstrations", "nowhere"], "No such file or directory: 'nowhere'"),
        (["--learning.demonstration_share", 2], "must be in [0, 1], got 2"),
        (["--learning.demonstration_temperature", 0], "temperature must be above 0, got 0"),
        (["--learning.demonstration_dropout", 1], "dropout must be in [0, 1), got 1"),
    ],
)
def test_what_demonstrates_nothing(command, demonstrations, tmp_path, words, sentence):
    shown = ["--env", "deep-sea", "--learning.demonstrations", demonstrations, *TINY]
    code, said = command(*shown, *words, "--run-dir", "run")
    assert code == 2
    assert sentence in said
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_is_no_demonstration(command, finished, tmp_path):
    shown = newest(finished)
    code, said = command(*DEEP_SEA, "--learning.demonstrations", shown, "--run-dir", "run")
    assert code == 2
    assert "holds no demonstrations, python -m ngu.demonstrate writes them" in said
    assert not (tmp_path / "run").exists()


def test_chance_is_left_out_where_there_is_some():
    words = ["--env", "MontezumaRevenge", "--options.protocol", "sticky"]
    settings, _, _ = parse(words, "ngu.demonstrate")
    quiet = without_chance(settings)
    assert quiet.options == replace(settings.options, sticky_probability=0.0)
    assert quiet.options.protocol == "sticky"
    other, _, _ = parse(["--env", "deep-sea"], "ngu.demonstrate")
    assert without_chance(other) == other


def test_what_cannot_be_demonstrated(run_command, finished, demonstrations):
    run = demonstrations.parent
    before = demonstrations.read_bytes()
    for words, sentence in (
        ([finished], "must be the folder of an archive's run, but the agent of"),
        (["nowhere"], "nowhere is no run folder"),
        ([run], "demonstrations.safetensors exists already; --out FILE writes to another"),
        ([run, "--score", 2, "--out", "more"], "the highest score is 0.99, none is 2 or more"),
        ([run, "--out", "more", "--options.size", 6], "a picture is (6, 6) in place of (5, 5)"),
        ([run, "--out", "more", "--options.depth", 6], "no option --options.depth"),
        ([run, "--policy", finished], "has learned from no demonstrations"),
        ([run, "--policy", "nowhere"], "nowhere is no run folder"),
    ):
        code, said = run_command(demonstrate, *words)
        assert code == 2
        assert sentence in said
        assert not Path("more").exists()
    assert demonstrations.read_bytes() == before
