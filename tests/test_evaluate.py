"""Evaluation: what is counted, with what it is played, the command from end to end, its errors."""

import importlib.util
import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from PIL import Image, ImageSequence

from ngu import evaluate
from ngu.autoencoders import load_vae
from ngu.evaluation import Recording, play
from ngu.parsing import parse
from ngu.parts import make_envs
from ngu.pictures import draws, pictures
from ngu.players import FamilyPlayer, RandomPlayer
from ngu.policy_table import policy_row, print_table
from ngu.sentences import SettingsError
from ngu.settings import TrainSettings
from ngu.state_file import load_tree
from ngu.video import compose
from ngu_agents.family import discounts, intrinsic_weights
from ngu_envs import crafter_score, make

TINY = """
log: {steps: 100}
learning: {num_policies: 10, features: 8, hidden: 8, batch_size: 2, bonus_batch_size: 4}
replay: {capacity_steps: 400, capacity_gb: null, trace_length: 6, period: 3, min_sequences: 6}
"""


@pytest.fixture(scope="module", autouse=True)
def _global_state_put_back():
    """The commands set up logging and threads for their process, which is this one here."""
    root, threads = logging.getLogger(), torch.get_num_threads()
    handlers, level = root.handlers, root.level
    torch.set_num_threads(1)
    yield
    root.handlers, root.level = handlers, level
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Folders of short runs, by name."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "tiny.yaml").write_text(TINY)
    common = ["--config", "tiny.yaml", "--num-envs", "3", "--seed", "1", "--device", "cpu"]
    paid = ["--novelty.memory_capacity", "50"]
    commands = [
        [*common, *arguments, "--run-dir", name]
        for name, arguments in {
            "sea": ["--env", "deep-sea", "--options.size", "5", "--frames", "200", *paid],
            "maze": ["--env", "disco-maze", "--options.size", "7", "--frames", "150", *paid],
            "unpaid": ["--env", "deep-sea", "--bonus", "none", "--frames", "30"],
        }.items()
    ]
    sea = ["--env=deep-sea", "--options.size", "5", "--agent", "archive", "--frames", "2000"]
    commands.append([*common[2:], *sea, "--run-dir", "archive"])
    car = ["--env=MountainCar-v0", "--agent", "archive", "--frames", "200"]
    commands.append([*common[2:], *car, "--run-dir", "car"])
    others = {"random": ["--frames", "30"], "ppo": ["--learning.features", "16", "--frames", "600"]}
    commands += [
        [*common[2:], "--env=disco-maze", "--agent", name, *arguments, "--run-dir", name]
        for name, arguments in others.items()
    ]
    learned = ["--learning.collected", "60", "--learning.population", "4"]
    learned += ["--learning.seeing.epochs", "1", "--learning.seeing.batch_size", "16"]
    learned += ["--learning.predicting.updates", "10", "--learning.predicting.sequence_length", "8"]
    for name, frames in (("world-models", "300"), ("unlearned", "30")):
        maze = ["--env=disco-maze", "--agent", "world-models", "--options.size", "17"]
        commands.append([*common[2:], *maze, *learned, "--frames", frames, "--run-dir", name])
    # A process of its own: training takes over signals and threads of the one it runs in.
    program = f"from ngu import train\nfor c in {commands!r}: assert train.main(c) == 0"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", program], cwd=folder, env=environment, check=True)
    return folder


@pytest.fixture
def copied(runs, tmp_path):
    """A copy of a run, to be spoilt."""

    def copy(name: str = "sea") -> Path:
        return Path(shutil.copytree(runs / name, tmp_path / name))

    return copy


@pytest.fixture
def outcome(capsys):
    """The JSON object of a run of the command, which has to succeed."""

    def run(*arguments) -> dict:
        assert evaluate.main([*map(str, arguments), "--json"]) == 0
        return json.loads(capsys.readouterr().out.splitlines()[-1])

    return run


class Scripted(VectorEnv):
    """Episode k of environment i lasts lengths[k][i] steps, pays 1 a step, and counts rooms up."""

    def __init__(self, lengths):
        self.lengths = lengths
        self.num_envs = len(lengths[0])
        self.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP, "progress": "room"}
        self.single_observation_space = gymnasium.spaces.Box(0, 9, (1,), np.float32)
        self.single_action_space = gymnasium.spaces.Discrete(2)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.round = -1

    def reset(self, *, seed=None, options=None):
        self.round += 1
        self.elapsed = np.zeros(self.num_envs, np.int64)
        return self._observation(), {"room": self.elapsed.astype(np.int32)}

    def step(self, actions):
        length = np.array(self.lengths[self.round])
        self.elapsed = np.where(self.elapsed == length, 0, self.elapsed + 1)
        done = self.elapsed == length
        info = {"room": self.elapsed.astype(np.int32)}
        reward = (self.elapsed > 0).astype(np.float32)
        return self._observation(), reward, done, np.zeros_like(done), info

    def _observation(self):
        return self.elapsed[:, None].astype(np.float32)


class Counting:
    """A player whose novelty is the number of the step; it notes what it was asked."""

    def __init__(self, num_envs):
        self.num_envs = num_envs
        self.policies, self.playing = [], []

    def begin(self, observation, policies):
        self.step = 0
        self.policies.append(policies.tolist())

    def act(self):
        return np.zeros(self.num_envs, np.int64)

    def observe(self, step, playing):
        self.step += 1
        self.playing.append(playing.tolist())
        return {"episodic_novelty": np.full(self.num_envs, self.step, np.float32)}


def test_each_slot_counts_one_episode_however_long():
    envs, player = Scripted([[3, 1], [2, 4]]), Counting(2)
    episodes = list(play(envs, player, [7, 9], 2, max_steps=100))
    assert [(e.policy, e.length, e.total_reward) for e in episodes] == [
        (9, 1, 1.0), (7, 3, 3.0), (7, 2, 2.0), (9, 4, 4.0),
    ]  # fmt: skip
    assert not any(e.cut for e in episodes)
    # Rooms 0 to the length; the mean of the steps' numbers.
    assert [e.progress for e in episodes] == [2, 4, 3, 5]
    assert [e.means["episodic_novelty"] for e in episodes] == [1.0, 2.0, 1.5, 2.5]
    assert player.policies == [[7, 9], [7, 9]]
    assert player.playing[:3] == [[True, True], [True, False], [True, False]]


def test_environments_without_a_slot_are_not_counted():
    envs, player = Scripted([[1, 2, 3], [1, 2, 3]]), Counting(3)
    episodes = list(play(envs, player, [4, 5], 2, max_steps=100))
    assert [(e.policy, e.length) for e in episodes] == [(4, 1), (5, 2), (4, 3), (5, 1)]
    with pytest.raises(ValueError, match="at least 4, got 3"):
        list(play(envs, player, [0, 1, 2, 3], 1, max_steps=1))


def test_long_episodes_are_cut():
    episodes = list(play(Scripted([[3, 9]]), Counting(2), [0, 1], 1, max_steps=3))
    assert [(e.length, e.cut, e.total_reward) for e in episodes] == [(3, False, 3), (3, True, 3)]


def test_recording_is_the_first_episode_of_its_environment():
    recording = Recording(1)
    envs = Scripted([[4, 2], [4, 3]])
    list(play(envs, Counting(2), [0, 1], 2, max_steps=100, recording=recording))
    np.testing.assert_array_equal(recording.observations, [[1], [2]])
    assert recording.rewards == recording.novelty[:1] * 2 == [1.0, 1.0]
    assert len(recording.actions) == 2


def test_row_holds_means_and_spread():
    settings = TrainSettings()
    episodes = list(play(Scripted([[3, 1], [5, 1]]), Counting(2), [0, 31], 2, max_steps=4))
    row = policy_row(0, episodes, settings, "room")
    assert row == {
        "policy": 0, "beta": 0.0, "gamma": pytest.approx(0.997), "episodes": 2, "episodes_cut": 1,
        "episode_return": 3.5, "episode_return_std": 0.5, "episode_return_best": 4.0,
        "episode_length": 3.5, "rooms": 4.5, "episodic_novelty": (2.0 + 2.5) / 2,
    }  # fmt: skip
    assert policy_row(31, episodes, settings, None)["beta"] == pytest.approx(0.3)


def sea_player(runs, envs, change=None, epsilon=0.0):
    settings, _, _ = parse([], "test", base=runs / "sea" / "config.yaml")
    state = evaluate.RunFolder.open(runs / "sea").checkpoints.latest()[1]["session"]["agent"]
    if change is not None:
        change(state["learner"]["network"])
    device = torch.device("cpu")
    return FamilyPlayer(envs, settings, state, epsilon=epsilon, seed=0, device=device)


def test_policy_dives_for_the_treasure_where_the_network_says_so(runs):
    """With the right way the same action everywhere, one bias makes a diver that never turns."""
    envs = make("deep-sea", 2, 0, size=5)
    envs.right_action[:] = 1

    def to_the_right(network):
        for name, weight in network.items():
            weight.zero_()
            if name == "advantage.2.bias":
                weight[1] = 1.0

    player = sea_player(runs, envs, to_the_right)
    episodes = list(play(envs, player, [0, 9], 2, max_steps=100))
    assert [e.total_reward for e in episodes] == pytest.approx([0.99] * 4)
    assert {e.length for e in episodes} == {5}
    assert {"intrinsic_reward", "episodic_novelty", "lifelong_modulator"} == set(episodes[0].means)


def test_epsilon_is_the_share_of_random_actions(runs):
    envs = make("deep-sea", 50, 0, size=5)
    actions = {}
    for epsilon in (0.0, 1.0):
        player = sea_player(runs, envs, epsilon=epsilon)
        observation, _ = envs.reset()
        player.begin(observation, np.zeros(50, np.int64))
        actions[epsilon] = player.act()
    assert len(set(actions[0.0])) == 1
    assert 10 < actions[1.0].sum() < 40


def test_table_of_a_run(runs, capsys):
    before = {path: path.stat().st_mtime_ns for path in runs.rglob("*")}
    assert evaluate.main([str(runs / "sea"), "--episodes", "2", "--json"]) == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out.splitlines()[-1])
    assert (found["env"], found["agent"], found["epsilon"]) == ("deep-sea", "ngu", 0.01)
    assert 200 <= found["steps"] <= 203
    rows = found["policies"]
    assert [row["policy"] for row in rows] == [0, 1, 3, 4, 5, 6, 8, 9]
    played = [row["policy"] for row in rows]
    assert [row["beta"] for row in rows] == intrinsic_weights(10, 0.3)[played].tolist()
    assert [row["gamma"] for row in rows] == discounts(10)[played].tolist()
    for row in rows:
        assert (row["episodes"], row["episode_length"], row["episodes_cut"]) == (2, 5.0, 0)
        assert -0.01 <= row["episode_return"] <= 0.99
        assert row["episodic_novelty"] > 0
    for heading in ("policy", "beta", "gamma", "return", "episodic novelty"):
        assert heading in printed.out
    assert "policies 0, 1, 3, 4, 5, 6, 8, 9 of 10 (--policies chooses others)" in printed.err
    assert {path: path.stat().st_mtime_ns for path in runs.rglob("*")} == before


def test_same_seed_same_table_and_the_video_changes_nothing(runs, outcome, tmp_path):
    arguments = [runs / "maze", "--policies", "2,9", "--epsilon", "1", "--episodes", "20"]
    first = outcome(*arguments)
    assert outcome(*arguments, "--video", tmp_path / "a.gif") == first
    assert outcome(*arguments, "--seed", "1")["policies"] != first["policies"]
    assert outcome(*arguments, "--epsilon", "0")["policies"] != first["policies"]
    assert [row["policy"] for row in first["policies"]] == [2, 9]
    assert all(0 < row["coverage"] < 1 for row in first["policies"])


def test_other_options_of_the_environments(runs, outcome):
    played = (runs / "maze", "--policies", "9", "--epsilon", "1", "--episodes", "3")
    (short,) = outcome(*played, "--options.max_steps", "2")["policies"]
    (long,) = outcome(*played)["policies"]
    assert short["episode_length"] <= 2 < long["episode_length"]


def test_run_without_novelty_and_run_of_random_actions(runs, outcome, tmp_path):
    (row,) = outcome(runs / "random", "--video", tmp_path / "a.gif")["policies"]
    assert (row["policy"], row["beta"], row["episodes"]) == (None, None, 4)
    assert row["coverage"] > 0
    assert "episodic_novelty" not in row
    rows = outcome(runs / "unpaid", "--episodes", "1", "--policies", "all")["policies"]
    assert len(rows) == 10
    assert "episodic_novelty" not in rows[0]


def test_the_policy_of_ppo_is_played(runs, outcome, tmp_path):
    (row,) = outcome(runs / "ppo", "--video", tmp_path / "a.gif")["policies"]
    assert (row["policy"], row["beta"], row["episodes"]) == (None, None, 4)
    assert row["coverage"] > 0
    assert row["intrinsic_reward"] > 0


def test_the_controller_of_world_models_is_played(runs, outcome):
    (row,) = outcome(runs / "world-models")["policies"]
    assert (row["policy"], row["beta"], row["episodes"]) == (None, None, 4)
    assert row["coverage"] > 0
    assert "intrinsic_reward" not in row


def test_the_autoencoder_of_a_world_models_run_is_found(runs):
    vae, file = load_vae(runs / "world-models")
    saved = load_tree(file)["session"]["agent"]["vae"]
    for name, weight in vae.state_dict().items():
        assert torch.equal(weight, saved[name])
    with pytest.raises(SettingsError, match=r"sea holds no vae.*no run of the world-models agent"):
        load_vae(runs / "sea")


def test_the_best_trajectory_of_an_archive_is_played(runs, outcome, tmp_path):
    (row,) = outcome(runs / "archive", "--video", tmp_path / "a.gif")["policies"]
    assert (row["policy"], row["episodes"], row["episodes_cut"]) == (None, 1, 0)
    assert row["episode_return"] == pytest.approx(0.99)
    assert row["episode_length"] == 5


def test_damaged_checkpoint_is_passed_over_and_no_replay_is_read(copied, outcome):
    run = copied()
    shutil.rmtree(run / "checkpoints" / "replay")
    (checkpoint,) = (run / "checkpoints").glob("step-*")
    newer = checkpoint.with_name("step-000000999999.safetensors")
    newer.write_bytes(checkpoint.read_bytes()[:-100])
    assert outcome(run, "--episodes", "1")["checkpoint"] == checkpoint.name


def test_gif_has_a_frame_a_step_with_the_curve_below(runs, outcome, tmp_path):
    film = tmp_path / "a.gif"
    film.write_bytes(b"an older film")
    outcome(runs / "sea", "--policies", "0", "--video", film)
    assert [path.name for path in tmp_path.iterdir()] == ["a.gif"]
    with Image.open(film) as image:
        frames = [np.asarray(f.convert("RGB")) for f in ImageSequence.Iterator(image)]
    assert len(frames) == 5
    # The sea is 5 cells of 84 pixels; after the first step the diver is in the second row.
    diver = frames[0][84 + 42, 42::84].sum(-1)[:5] > 600
    assert diver.sum() == 1
    assert not (frames[0][42, 42::84].sum(-1)[:5] > 600).any()
    assert frames[0].shape[0] > 420 + 100


def test_mp4_can_be_played(runs, outcome, tmp_path):
    from imageio_ffmpeg import count_frames_and_secs

    film = tmp_path / "a.MP4"
    outcome(runs / "sea", "--policies", "0,4", "--video", film, "--video-policy", "0")
    assert count_frames_and_secs(str(film)) == (5, pytest.approx(5 / 15, abs=0.01))


def test_curve_is_bright_up_to_now_and_high_where_novelty_is():
    blank = np.zeros((4, 400, 3), np.uint8)
    novelty = [1.0] * 50 + [100.0] * 50
    frames = list(compose([blank] * 100, novelty, [0.0] * 100, "x"))
    bright = np.all(frames[60] == (255, 176, 46), axis=-1)
    columns = np.flatnonzero(bright.any(0))
    left, right = 44, 392
    assert columns.min() == pytest.approx(left, abs=2)
    assert columns.max() == pytest.approx(left + 60 / 99 * (right - left), abs=2)
    assert bright[:, columns[-3]].argmax() < bright[:, columns[3]].argmax() - 60
    assert all(size % 2 == 0 for size in frames[0].shape[:2])


def test_achievements_and_score_of_an_evaluation(capsys):
    settings, _, _ = parse(["--env=crafter", "--agent=random", "--options.area=16"], "test")
    envs = make_envs(settings, 2, 0)
    recording = Recording(0)
    player = RandomPlayer(envs, seed=0)
    episodes = list(play(envs, player, [0], 4, max_steps=80, recording=recording))
    envs.close()
    unlocked = np.array([episode.achievements for episode in episodes])
    assert unlocked.shape == (4, 22)
    assert [episode.progress for episode in episodes] == unlocked.sum(1).tolist()
    row = policy_row(0, episodes, settings, "achievements")
    assert row["achievements_per_episode"] == unlocked.sum() / 4 > 0
    assert row["crafter_score"] == pytest.approx(crafter_score(100 * unlocked.mean(0)))
    print_table([row], "Crafter")
    said = capsys.readouterr().out
    assert "achievements" in said
    assert "crafter score" in said
    shown = list(pictures(recording, envs, settings))
    assert len(shown) == len(recording.observations)
    zoom = shown[0].shape[0] // 64
    np.testing.assert_array_equal(shown[-1][::zoom, ::zoom], recording.observations[-1])


@pytest.mark.parametrize("protocol", ["paper", "sticky"])
def test_atari_pictures_are_those_of_the_episode(protocol):
    envs = make("MontezumaRevenge", 2, 5, num_workers=1, protocol=protocol)
    recording = Recording(1)
    list(play(envs, RandomPlayer(envs, seed=0), [0, 1], 1, max_steps=120, recording=recording))
    envs.close()
    shown = list(pictures(recording, envs, TrainSettings()))
    assert {picture.shape for picture in shown} == {(420, 480, 3)}
    grey = np.stack([
        np.asarray(Image.fromarray(picture[::2, ::3]).convert("L").resize((84, 84), 4), float)
        for picture in shown
    ])  # fmt: skip
    seen = np.stack([observation[-1] for observation in recording.observations])
    # Both greys differ a little by colour; a figure that stands elsewhere differs a lot.
    assert np.abs(grey - seen).max() < 130
    assert np.abs(grey[1:] - seen[:-1]).max() > 180


@pytest.mark.parametrize(
    ("name", "shape"),
    [("CartPole-v1", (400, 600, 3)), ("MiniGrid-Empty-Random-5x5-v0", None)],
)
def test_registered_environments_draw_themselves(name, shape):
    envs = make(name, 2, 3)
    recording = Recording(1)
    list(play(envs, RandomPlayer(envs, seed=0), [0, 1], 1, max_steps=100, recording=recording))
    envs.close()
    assert draws(envs)
    shown = list(pictures(recording, envs, TrainSettings(env=name, options={})))
    assert len(shown) == len(recording.actions) > 5
    assert shape is None or shown[0].shape == shape
    assert any((one != shown[0]).any() for one in shown)
    recording.rewards[2] = 5.0
    with pytest.raises(ValueError, match="did not repeat"):
        list(pictures(recording, envs, TrainSettings(env=name, options={})))


def test_what_is_drawn_is_what_was_played():
    envs = make("CartPole-v1", 2, 3)
    recording = Recording(1)
    list(play(envs, RandomPlayer(envs, seed=0), [0, 1], 1, max_steps=100, recording=recording))
    shown = list(pictures(recording, envs, TrainSettings(env="CartPole-v1", options={})))
    # The cart's black top stands where its position says, of 4.8 the whole width.
    for picture, observation in zip(shown[:-1], recording.observations, strict=False):
        columns = np.flatnonzero((picture[300] == 0).all(-1))
        assert columns.mean() == pytest.approx(300 + observation[0] * 600 / 4.8, abs=2)


@pytest.mark.parametrize(
    ("name", "arguments", "sentence"),
    [
        ("nothing", [], "is no run folder: it has no config.yaml"),
        ("sea", ["--policies", "3,10"], "there is no policy 10: this family has 10"),
        ("sea", ["--policies", "3,-1"], "there is no policy -1"),
        ("sea", ["--policies", "3,3"], "got 3 twice"),
        ("sea", ["--video", "a.avi"], "video must end in .mp4 or .gif, got a.avi"),
        ("sea", ["--video", "nowhere/a.gif"], "its folder must exist"),
        ("sea", ["--video-policy", "3"], "with --video FILE only"),
        (
            "sea",
            ["--video", "a.gif", "--policies", "1", "--video-policy", "3"],
            r"--video-policy must be one of those played, [1], got 3",
        ),
        ("random", ["--policies", "0"], "the random agent has no family"),
        ("archive", ["--episodes", "2"], "an archive's trajectory is the same every time"),
        ("unlearned", [], "the run still learns to see and to predict, it has no controller yet"),
        ("car", [], "nothing has a higher score than the beginning"),
        ("sea", ["--learning.hidden", "4"], "unrecognized argument --learning.hidden: of the run"),
        ("sea", ["--options.width", "4"], "no option --options.width"),
    ],
)
def test_errors_are_one_sentence(runs, capsys, name, arguments, sentence):
    assert evaluate.main([str(runs / name), *arguments]) == 2
    printed = capsys.readouterr()
    assert sentence in printed.err
    assert len(printed.err.splitlines()) == 1
    assert printed.out == ""


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "the following arguments are required: RUN"),
        (["run", "--episodes", "0"], "expected at least 1, got 0"),
        (["run", "--policies", "a"], "expected indices as in 0,5,31, or all, got 'a'"),
        (["run", "--epsilon", "2"], "expected a number in [0, 1], got 2"),
        (["run", "--seed", "x"], "expected a whole number, got 'x'"),
        (["run", "--device", "tpu"], "invalid choice: 'tpu'"),
    ],
)
def test_wrong_arguments(capsys, arguments, sentence):
    with pytest.raises(SystemExit) as stopped:
        evaluate.main(arguments)
    assert stopped.value.code == 2
    assert sentence in capsys.readouterr().err


def test_spoilt_runs(copied, capsys, monkeypatch, tmp_path):
    run = copied()
    (checkpoint,) = (run / "checkpoints").glob("step-*")
    config = (run / "config.yaml").read_text()

    def error(*arguments) -> str:
        assert evaluate.main([str(run), *arguments]) == 2
        return capsys.readouterr().err

    (run / "config.yaml").write_text(config.replace("hidden: 8", "hidden: 16"))
    assert "does not fit the settings of its run" in error()
    (run / "config.yaml").write_text(config.replace("agent: ngu", "agent: x"))
    assert "agent" in error()
    (run / "config.yaml").write_text(config)
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "imageio_ffmpeg" else found(name)
    )
    film = str(tmp_path / "a.mp4")
    assert 'imageio_ffmpeg: pip install "never-give-up[video]"' in error("--video", film)
    checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    assert "is damaged" in error()
    checkpoint.unlink()
    assert "there is no checkpoint" in error()
    assert not Path(film).exists()


def test_help_names_each_option(capsys):
    with pytest.raises(SystemExit) as stopped:
        evaluate.main(["--help"])
    assert stopped.value.code == 0
    printed = capsys.readouterr().out
    for option in ("--episodes", "--policies", "--max-steps", "--video-policy", "--json"):
        assert option in printed
