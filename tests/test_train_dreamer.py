"""The dreamer from the command line: it trains, goes on, is played, and says what it cannot do."""

import json
from functools import partial

import gymnasium
import numpy as np
import pytest
import torch

from ngu import evaluate
from ngu.train import main
from tests.small_runs import SHORT, rows_of

TINY = [
    *("--agent", "dreamer", "--learning.world.rssm.deterministic_size", 8),
    *("--learning.world.rssm.latents", 2, "--learning.world.rssm.classes", 3),
    *("--learning.world.rssm.hidden", 8, "--learning.world.filters", 2),
    *("--learning.world.hidden", 8, "--learning.hidden", 8, "--learning.layers", 1),
    *("--learning.horizon", 3, "--learning.batch_size", 2, "--learning.bonus_batch_size", 6),
    *("--learning.replay_ratio", 0.5, "--learning.starts_per_sequence", "null"),
    *("--replay.trace_length", 6, "--replay.period", 3, "--replay.min_sequences", 6),
    *("--replay.capacity_steps", 2000),
    *SHORT,
]
MAZE = ["--env", "disco-maze", "--options.size", 17, *TINY, "--novelty.memory_capacity", 50]
SEA = ["--env", "deep-sea", "--options.size", 5, *TINY]
GRID = ["--env", "MiniGrid-Empty-Random-5x5-v0", *TINY]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def maze(trainings, folder):
    """A run that stopped in between and went on."""
    run, output = folder / "maze", folder / "output"
    assert trainings.run(*MAZE, "--frames", 150, "--run-dir", run, output=output) == 0, (
        output.read_text()
    )
    assert trainings.run("--resume", run, "--frames", 250, output=output) == 0
    return run


@pytest.fixture
def command(run_command):
    """Runs the command in an empty folder; returns its exit code and what it wrote."""
    return partial(run_command, main)


def policies_of(said: str) -> list[dict]:
    """What an evaluation found."""
    (found,) = [line for line in said.splitlines() if line.startswith("{")]
    return json.loads(found)["policies"]


def test_it_goes_on_as_if_nothing_had_been(maze, trainings, folder):
    whole, output = folder / "whole", folder / "output"
    assert trainings.run(*MAZE, "--frames", 250, "--run-dir", whole, output=output) == 0
    rows = rows_of(whole)
    assert rows_of(maze) == rows
    assert [row["steps"] // 50 for row in rows][:5] == [1, 2, 3, 4, 5]
    assert rows[-1].keys() >= {
        "episodes", "episode_return", "intrinsic_reward", "episodic_novelty", "loss/model",
        "loss/reconstruction", "loss/dynamics", "loss/behaviour", "loss/policy", "loss/value",
        "loss/imagined_embedding", "loss/distillation", "policy_entropy", "updates",
        "imagined_return_ext", "imagined_return_int", "return_scale_int", "replay_fill",
    }  # fmt: skip
    assert rows[-1]["updates"] > 5
    assert all(rows[-1][name] is not None for name in ("loss/model", "loss/imagined_embedding"))
    summary = json.loads((whole / "summary.json").read_text())
    assert (summary["agent"], summary["frames"]) == ("dreamer", rows[-1]["frames"])


@pytest.mark.parametrize("bonus", ["disagreement", "rnd", "latents"])
def test_each_bonus_trains_and_its_policy_is_played(trainings, run_command, folder, bonus):
    run, output = folder / bonus, folder / "output"
    paid = ["--bonus", bonus]
    if bonus == "latents":
        paid = ["--bonus", "ngu", "--learning.latent_memory", "true"]
    words = [*SEA, *paid, "--frames", 120, "--run-dir", run]
    assert trainings.run(*words, output=output) == 0, output.read_text()
    last = rows_of(run)[-1]
    assert last["loss/model"] is not None
    assert ("loss/disagreement" in last) == (bonus == "disagreement")
    assert "imagined_return_int" in last
    code, said = run_command(evaluate.main, run, "--episodes", 2, "--json")
    assert code == 0, said
    (row,) = policies_of(said)
    assert (row["policy"], row["beta"], row["episodes"]) == (None, None, 2)
    assert (row["episode_length"], row["episodes_cut"]) == (5.0, 0)
    assert ("intrinsic_reward" in row) == (bonus != "disagreement")


def test_its_policy_is_played_the_same_from_the_same_seed(maze, run_command):
    before = {path: path.stat().st_mtime_ns for path in maze.rglob("*")}
    played = []
    for seed in (0, 0, 1):
        words = [maze, "--episodes", 6, "--seed", seed, "--json"]
        code, said = run_command(evaluate.main, *words)
        assert code == 0, said
        assert "its policy" in said
        played.append(policies_of(said))
    assert played[0] == played[1]
    assert played[0] != played[2]
    (row,) = played[0]
    assert row["episodic_novelty"] > 0
    assert 0 < row["coverage"] < 1
    assert {path: path.stat().st_mtime_ns for path in maze.rglob("*")} == before


def test_minigrid_is_read_as_symbols(trainings, folder):
    run, output = folder / "grid", folder / "output"
    assert trainings.run(*GRID, "--frames", 120, "--run-dir", run, output=output) == 0, (
        output.read_text()
    )
    assert rows_of(run)[-1]["loss/reconstruction"] > 0
    assert trainings.run("--resume", run, "--frames", 200, output=output) == 0, output.read_text()
    assert "new episodes begin" in output.read_text()


def test_what_its_replay_was_is_collected_anew_where_it_was_not_saved(trainings, folder):
    run, output = folder / "unsaved", folder / "unsaved output"
    words = [*SEA, "--checkpoint.replay", "false", "--run-dir", run]
    assert trainings.run(*words, "--frames", 120, output=output) == 0, output.read_text()
    assert trainings.run("--resume", run, "--frames", 240, output=output) == 0, output.read_text()
    rows = rows_of(run)
    assert rows[-1]["replay_fill"] < 0.1
    assert rows[-1]["updates"] > rows[1]["updates"] > 0


@pytest.mark.parametrize("change", [["--agent", "ngu"], ["--bonus", "rnd"]])
def test_going_on_as_another_is_refused(maze, command, change):
    code, said = command("--resume", maze, *change)
    assert code == 2
    assert f"the run was made with {change[0][2:]} " in said
    assert "Traceback" not in said


def test_another_agents_checkpoint_is_refused(maze, trainings, run_command, folder, tmp_path):
    run, output = folder / "random", folder / "output"
    words = ["--env", "disco-maze", "--options.size", 17, "--agent", "random", *SHORT]
    assert trainings.run(*words, "--frames", 60, "--run-dir", run, output=output) == 0
    (run / "config.yaml").write_text((maze / "config.yaml").read_text())
    for program, arguments in ((main, ["--resume", run]), (evaluate.main, [run])):
        code, said = run_command(program, *arguments)
        assert code == 2, said
        assert "does not fit the settings " in said, said
        assert "Traceback" not in said


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--env", "FrozenLake-v1"], "FrozenLake-v1 observes Discrete(16); expected an image or"),
        (["--env", "disco-maze", "--options.size", 7], "observation_space must be of vectors, of"),
        (["--env", "Blackjack-v1"], "Blackjack-v1 observes Tuple"),
        (["--env", "deep-sea", "--bonus", "rdn"], "bonus must be one of ngu, rnd, icm"),
        (["--env", "deep-sea", "--bonus", "disagreement", "--novelty.models", 1],
         "models must be at least 2, got 1"),
        (["--env", "deep-sea", "--learning.horizon", 0], "horizon must be above 0, got 0"),
        (["--env", "deep-sea", "--learning.world.rssm.classes", 1], "classes must be at least 2"),
        (["--env", "deep-sea", "--learning.world.rsm.classes", 3],
         "no option --learning.world.rsm.classes; the closest"),
        (["--env", "deep-sea", "--bonus", "rnd", "--learning.latent_memory", "true"],
         "latent_memory is that of the bonus ngu"),
        (["--env", "deep-sea", "--learning.num_policies", 3], "no option --learning.num_policies"),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence_and_leaves_nothing(command, tmp_path, words, sentence):
    code, said = command("--agent", "dreamer", *words)
    assert code == 2
    assert sentence in said
    assert len(said.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_small_pictures_of_floats_and_dicts_are_refused(command, tmp_path, monkeypatch):
    class Seen(gymnasium.Env):
        action_space = gymnasium.spaces.Discrete(2)

        def __init__(self, observation_space):
            self.observation_space = observation_space

    spaces = {
        "SmallFloats-v0": (
            gymnasium.spaces.Box(0, 1, (8, 8, 3), np.float32),
            "pictures at least 16 pixels high and wide, or of smaller grids of at most 64 symbols",
        ),
        "SeveralThings-v0": (
            gymnasium.spaces.Dict({"a": gymnasium.spaces.Discrete(2)}),
            "SeveralThings-v0 observes Dict('a': Discrete(2)); expected an image or a vector",
        ),
    }
    for name, (space, sentence) in spaces.items():
        spec = gymnasium.envs.registration.EnvSpec(name, lambda space=space: Seen(space))
        monkeypatch.setitem(gymnasium.registry, name, spec)
        code, said = command("--agent", "dreamer", "--env", name, *SHORT)
        assert code == 2
        assert sentence in said
        assert len(said.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_its_checkpoints(trainings, tmp_path):
    run, output = tmp_path / "run", tmp_path / "output"
    diverging = [*SEA, "--learning.learning_rate", "1e30", "--run-dir", run]
    assert trainings.run(*diverging, "--frames", 30, output=output) == 0, output.read_text()
    (checkpoint,) = (run / "checkpoints").glob("step-*.safetensors")
    before = checkpoint.read_bytes()
    assert trainings.run("--resume", run, "--frames", 2000, output=output) == 2
    said = output.read_text()
    assert "error: the loss of the " in said
    assert "the last checkpoint is from before it" in said
    assert "Traceback" not in said
    assert checkpoint.read_bytes() == before


def test_no_thread_setting_is_left_behind():
    assert torch.get_num_threads() == 1
