"""Settings: where they come from, and what is said of those that are wrong."""

import dataclasses
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
import yaml

from ngu import presets as presets_module
from ngu import settings as settings_module
from ngu.bonuses import BONUSES
from ngu.novelty.rnd import RNDConfig
from ngu.parsing import check_resumable, parse
from ngu.presets import default_preset, find_config, preset_names
from ngu.sentences import EarlyParser, closest, sentence
from ngu.settings import SettingsError, TrainSettings, resolve_device
from ngu_agents.dreamer_config import DreamerConfig, LatentDisagreementConfig
from ngu_agents.ppo_config import PPOConfig
from ngu_agents.replay_layout import ReplayConfig, ReplayLayout, ring_periods
from ngu_envs import CrafterConfig


def parsed(*words: object) -> tuple[TrainSettings, str, list[str]]:
    return parse([str(word) for word in words], "ngu.train")


def leaves(tree: dict, prefix: str = "") -> dict[str, object]:
    found = {}
    for name, value in tree.items():
        nested = leaves(value, f"{prefix}{name}.") if isinstance(value, dict) else None
        found |= {f"{prefix}{name}": value} if nested is None else nested
    return found


def value_of(settings: object, name: str) -> object:
    for part in name.split("."):
        settings = settings.get(part) if isinstance(settings, dict) else getattr(settings, part)
    return settings


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_parses_and_holds_only_what_differs_from_the_defaults(name):
    settings, _, sources = parsed("--config", name, "--device", "cpu")
    assert sources == [name]
    stated = yaml.safe_load(find_config(name).read_text())
    parts = {
        part: type(getattr(settings, part))()
        for part in ("options", "learning", "replay", "novelty")
        if getattr(settings, part) is not None
    }
    plain = TrainSettings(**parts)
    for key, value in leaves(stated).items():
        assert value_of(settings, key) == value, key
        assert value_of(plain, key) != value, f"{key} is the default already"


@pytest.mark.parametrize("name", ["atari-cpu", "atari-demonstrations", "atari-gpu", "atari-paper"])
def test_an_atari_preset_has_room_for_the_sequences_that_it_waits_for(name):
    settings, _, _ = parsed("--config", name, "--device", "cpu")
    layout = ReplayLayout(
        num_envs=settings.num_envs,
        observation_shape=(4, 84, 84),
        observation_dtype=np.uint8,
        action_shape=(),
        action_dtype=np.int64,
        recurrent_size=settings.learning.hidden,
        stack=4,
    )
    assert ring_periods(settings.replay, layout) > 0


def test_the_presets_are_those_that_are_promised():
    promised = (
        "atari-cpu atari-demonstrations atari-gpu atari-paper atari-ppo classic crafter "
        "crafter-ppo deep-sea disco-maze dreamer-atari-cpu dreamer-atari-gpu dreamer-crafter "
        "dreamer-minigrid world-models"
    )
    assert preset_names() == promised.split()


@pytest.mark.parametrize(
    ("env", "cuda", "preset"),
    [
        ("MontezumaRevenge", False, "atari-cpu"),
        ("Pong", True, "atari-gpu"),
        ("disco-maze", False, "disco-maze"),
        ("deep-sea", True, "deep-sea"),
        ("noisy-tv", False, "disco-maze"),
        ("CartPole-v1", False, "classic"),
        ("MiniGrid-DoorKey-8x8-v0", False, "disco-maze"),
        ("crafter", False, "crafter"),
        ("crafter", True, "crafter"),
    ],
)
def test_the_preset_suits_environment_and_device(monkeypatch, env, cuda, preset):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    assert default_preset(env, "auto") == preset
    settings, _, sources = parsed("--env", env)
    assert sources == [preset]
    assert settings.env == env


@pytest.mark.parametrize(
    ("env", "cuda", "preset"),
    [
        ("Pong", False, "dreamer-atari-cpu"),
        ("Pong", True, "dreamer-atari-gpu"),
        ("CartPole-v1", False, "dreamer-minigrid"),
        ("disco-maze", True, "dreamer-minigrid"),
        ("MiniGrid-DoorKey-8x8-v0", False, "dreamer-minigrid"),
    ],
)
def test_the_dreamer_has_presets_of_its_own(monkeypatch, env, cuda, preset):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    settings, _, sources = parsed("--env", env, "--agent", "dreamer")
    assert (sources, settings.agent, settings.env) == ([preset], "dreamer", env)
    assert type(settings.learning) is DreamerConfig
    assert type(settings.replay) is ReplayConfig


@pytest.mark.parametrize("preset", [(), ("--config", "world-models")])
def test_a_presets_options_are_those_of_its_environment(preset):
    words = ("--agent", "world-models", *preset, "--env")
    for env in ("MontezumaRevenge", "disco-maze", "MiniGrid-DoorKey-6x6-v0"):
        settings, text, sources = parsed(*words, env)
        assert (settings.learning.population, sources) == (32, ["world-models"])
        assert "patience" not in text
    settings, _, _ = parsed("--config", "atari-ppo", "--env", "Pong")
    assert settings.options.protocol == "sticky"


def test_the_dreamers_disagreement_has_settings_of_its_own(tmp_path):
    words = ("--env", "deep-sea", "--agent", "dreamer", "--bonus", "disagreement")
    settings, text, _ = parsed(*words, "--novelty.models", 3)
    assert settings.novelty == LatentDisagreementConfig(models=3)
    (tmp_path / "all.yaml").write_text(text)
    assert parsed("--config", tmp_path / "all.yaml")[0] == settings
    # Of a bonus on observations, which the dreamer's preset has settings of.
    with pytest.raises(SettingsError, match=r"no option --novelty\.memory_capacity"):
        parsed(*words, "--novelty.memory_capacity", 3)


@pytest.mark.parametrize(
    ("agent", "preset"),
    [("ngu", "crafter"), ("ppo", "crafter-ppo"), ("dreamer", "dreamer-crafter")],
)
def test_the_preset_of_crafter_suits_the_agent(agent, preset):
    settings, _, sources = parsed("--env", "crafter", "--agent", agent, "--device", "cpu")
    assert sources == [preset]
    assert (settings.env, settings.agent, settings.frames) == ("crafter", agent, 1_000_000)
    assert settings.options == CrafterConfig()


def test_ten_million_frames_are_the_default_for_atari():
    assert parsed("--env", "MontezumaRevenge", "--device", "cpu")[0].frames == 10_000_000


def test_the_command_line_goes_over_later_files_and_these_over_earlier_ones(tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text("seed: 4\nnum_envs: 5\nlearning:\n  batch_size: 3\n  beta: 0.2\n")
    words = ("--config", "deep-sea", "--config", mine, "--learning.batch-size=7")
    settings, text, sources = parsed(*words)
    assert (settings.env, settings.learning.features) == ("deep-sea", 64)
    assert (settings.seed, settings.num_envs, settings.learning.beta) == (4, 5, 0.2)
    assert settings.learning.batch_size == 7
    assert sources == ["deep-sea", "mine"]
    assert yaml.safe_load(text)["learning"]["batch_size"] == 7


def test_dashes_are_as_good_as_underscores():
    for words in (("--num-envs", 3), ("--num_envs=3",), ("--num-envs=3",)):
        assert parsed("--env", "deep-sea", *words)[0].num_envs == 3


def test_a_file_that_names_the_environment_gets_its_options(tmp_path):
    file = tmp_path / "small.yaml"
    file.write_text("env: disco-maze\noptions:\n  size: 9\n")
    options = parsed("--config", file)[0].options
    assert options.size == 9
    assert parsed("--config", file, "--options.size", 11)[0].options.size == 11


def test_what_was_printed_reads_back_as_the_same(tmp_path, capsys):
    words = ("--env", "CartPole-v1", "--options", '{"max_episode_steps": 30}', "--seed", 9)
    settings, text, _ = parsed(*words)
    assert settings.options == {"max_episode_steps": 30}
    with pytest.raises(SystemExit) as left:
        parsed(*words, "--print_config")
    assert left.value.code == 0
    printed = capsys.readouterr().out
    assert printed == text
    (tmp_path / "all.yaml").write_text(printed)
    assert parsed("--config", tmp_path / "all.yaml")[:2] == (settings, text)


def test_what_cannot_be_used_is_not_printed(capsys):
    with pytest.raises(SettingsError, match="num_envs must be at least 1"):
        parsed("--env", "deep-sea", "--num-envs", 0, "--print_config")
    assert capsys.readouterr().out == ""


def test_help_tells_each_setting_in_a_sentence(capsys):
    with pytest.raises(SystemExit) as left:
        parsed("--env", "deep-sea", "--help")
    assert left.value.code == 0
    told = " ".join(capsys.readouterr().out.split())
    for part in ("learning", "replay", "novelty", "checkpoint", "log"):
        kind = type(getattr(TrainSettings(), part))
        for name in (field.name for field in dataclasses.fields(kind)):
            assert f"--{part}.{name} " in told
    for sentence_told in (
        "Time between checkpoints; what a crash can cost at most.",
        "Nearest neighbours that a state is compared with, K.",
        "What to train, where, and for how long:",
        "A preset (atari-cpu, atari-demonstrations, atari-gpu, atari-paper, atari-ppo, classic, "
        "crafter, crafter-ppo, deep-sea, disco-maze, dreamer-atari-cpu, dreamer-atari-gpu, "
        "dreamer-crafter, dreamer-minigrid, world-models)",
        "Folder of a run to go on with, from its last checkpoint.",
    ):
        # A line may end at a hyphen.
        assert sentence_told in told.replace("- ", "-")


BAD_WORDS = [
    (["--env", "Montezuma"], "no environment is called 'Montezuma'.* MontezumaRevenge"),
    (["--env", ""], "no environment is called ''"),
    (["--env", "Blackjack-v1"], "Blackjack-v1 observes Tuple"),
    (["--env"], "^--env needs a value$"),
    (
        ["--agent", "rnd"],
        "^agent must be one of ngu, ppo, dreamer, archive, archive-ngu, random, world-models, "
        "got 'rnd'$",
    ),
    (["--bonus", "rdn"], "^bonus must be one of ngu, rnd, icm, .*, none, got 'rdn'$"),
    (["--bonus", "rnd", "--novelty.neighbours", 3], "no option --novelty.neighbours;"),
    (["--bonus", "none", "--novelty.epsilon", 3], "no option --novelty.epsilon;"),
    (["--agent", "random", "--replay.period", 3], "no option --replay.period;"),
    (["--device", "tpu"], "^device must be one of auto, cpu, cuda, got 'tpu'$"),
    (["--config", "atari-cp"], "'atari-cp'; the closest are atari-cpu"),
    (["--config", "/nowhere.yaml"], "must be a preset or a file.*there are atari-cpu, "),
    (["--frames", 0], "^frames must be at least 1, got 0$"),
    (["--frames", "ten"], "^frames must be a whole number, got 'ten'$"),
    (["--frames", 1.5], "^frames must be a whole number, got '1.5'$"),
    (["--frames"], "^--frames needs a value$"),
    (["--num-envs", 0], "^num_envs must be at least 1, got 0$"),
    (["--seed", -1], "^seed must be at least 0, got -1$"),
    (["--checkpoint.replay", "maybe"], "^checkpoint.replay must be true or false, got 'maybe'$"),
    (["--checkpoint.seconds", 0], "^checkpoint.seconds must be above 0, got 0"),
    (["--checkpoint.keep", 0], "^checkpoint.keep must be at least 1, got 0$"),
    (["--log.steps", 0], "^log.steps must be at least 1, got 0$"),
    (["--learning.batch_sise", 3], "no option --learning.batch_sise; .* --learning.batch_size"),
    (["--lerning.batch_size", 3], "no option --lerning.batch_size; .* --learning.batch_size"),
    (["--learning.batch_siz", 3], "no option --learning.batch_siz;"),
    (["--batch_size", 3], "no option --batch_size; the closest are --learning.batch_size"),
    (["--qqqq"], "no option --qqqq; none is close; --help lists them all$"),
    (["stray"], "no argument 'stray'"),
    (["--learning.batch_size", "abc"], "^learning.batch_size must be a whole number, got 'abc'$"),
    (["--learning.batch_size", 0], "^learning.batch_size must be above 0, got 0$"),
    (["--learning.epsilon", ".nan"], r"^learning.epsilon must be in \[0, 1\], got nan$"),
    (["--learning.epsilon", "nan"], "^learning.epsilon must be a number, got 'nan'$"),
    (["--learning.gamma_max", 2], "^learning: gammas must hold"),
    (["--learning.value_transform", "x"], "must be one of hyperbolic, identity, got 'x'$"),
    (["--learning", 5], "^learning must be a file or settings by name, got '5'$"),
    (["--learning", '{"feature": 3}'], "no setting learning.feature; .* learning.features"),
    (["--replay.capacity_gb", "x"], "^replay.capacity_gb must be a number or null, got 'x'$"),
    (["--options.size", "big"], "^options.size must be a whole number, got 'big'$"),
    (["--options.size", 0], "^options.size must be at least"),
]


@pytest.mark.parametrize(
    ("words", "message"), BAD_WORDS, ids=[" ".join(map(str, words)) for words, _ in BAD_WORDS]
)
def test_bad_words_get_a_sentence(words, message):
    env = () if words[0] in ("--env", "--config") else ("--env", "deep-sea")
    with pytest.raises(SettingsError, match=message) as caught:
        parsed(*env, *words)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"- 1\n- 2\n", "must hold settings by name, got a list"),
        (b"", "must hold settings by name, got nothing"),
        (b"a: [1\nb: }", "cannot be read as YAML: while parsing"),
        (b"\xff\xfe\x00\xff", "cannot be read as YAML"),
        (b"agnt: ngu\n", "there is no setting agnt; the closest are agent"),
        (b"learning:\n  batch_sise: 3\n", "there is no setting learning.batch_sise; .*batch_size"),
        (b"learning:\n  batch_size: abc\n", "learning.batch_size must be a whole number"),
        (b"learning: 3\n", "learning must hold settings by name, got 3"),
        (b"frames: null\n", "frames must have a value, got null"),
        (b"env: 3\n", "no environment is called '3'"),
        (b"env: Pongg\n", "the closest names are Pong"),
        (b"env: deep-sea\noptions:\n  colour_noise: true\n", "no setting options.colour_noise"),
    ],
)
def test_bad_files_get_a_sentence(tmp_path: Path, content, message):
    file = tmp_path / "mine.yaml"
    file.write_bytes(content)
    with pytest.raises(SettingsError, match=message) as caught:
        parsed("--config", file)
    assert "\n" not in str(caught.value)


def test_a_missing_package_is_named(monkeypatch):
    def missing(name):
        raise gymnasium.error.DependencyNotInstalled("MuJoCo is not installed")

    monkeypatch.setattr(settings_module, "config_type", missing)
    with pytest.raises(SettingsError, match="MuJoCo is not installed"):
        parsed("--env", "Humanoid-v5")


def test_no_cuda_is_said(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SettingsError, match="torch finds no CUDA device; use --device cpu"):
        resolve_device("cuda")
    assert resolve_device("auto") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device("auto") == resolve_device("cuda") == torch.device("cuda")
    assert resolve_device("cpu") == torch.device("cpu")


@pytest.fixture
def base(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(parsed("--env", "deep-sea", "--seed", 3)[1])
    return path


@pytest.mark.parametrize(
    "words", [("--frames", 7), ("--log.steps", 9), ("--checkpoint.keep", 2), ("--device", "cpu")]
)
def test_a_run_may_go_on_longer_and_saved_otherwise(base, words):
    settings, _, _ = parse([str(word) for word in words], "ngu.train", base=base)
    check_resumable(settings, base)
    assert settings.seed == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seed", 4], "was made with seed 3, it cannot go on with 4"),
        (["--learning.hidden", 9], "was made with learning.hidden 64, it cannot go on with 9"),
        (["--options.size", 5], "was made with options.size 10, it cannot go on with 5"),
    ],
)
def test_a_run_may_not_go_on_as_another(base, words, message):
    settings, _, _ = parse([str(word) for word in words], "ngu.train", base=base)
    with pytest.raises(SettingsError, match=message):
        check_resumable(settings, base)


@pytest.mark.parametrize(
    ("name", "made", "other"),
    [("env", "deep-sea", "Pong"), ("bonus", "ngu", "none"), ("agent", "ngu", "random")],
)
def test_a_run_may_not_go_on_with_another_environment_bonus_or_agent(base, name, made, other):
    with pytest.raises(SettingsError, match=f"with {name} {made}, it cannot go on with {other}"):
        parse([f"--{name}", other], "ngu.train", base=base)


def test_a_folder_of_another_command_is_named(tmp_path):
    made = tmp_path / "config.yaml"
    made.write_text("data: images.npz\nframes: 3000\n")
    with pytest.raises(SettingsError, match="names no agent"):
        parse([], "ngu.train", base=made)


@pytest.mark.parametrize("name", BONUSES)
def test_a_bonus_has_its_own_settings(tmp_path, name):
    settings, text, _ = parsed("--env", "disco-maze", "--bonus", name)
    assert type(settings.novelty) is BONUSES[name].config
    (tmp_path / "all.yaml").write_text(text)
    assert parsed("--config", tmp_path / "all.yaml")[0] == settings


def test_a_preset_leaves_its_settings_of_another_bonus_away():
    ngu, rnd = (parsed("--config", "disco-maze", "--bonus", name)[0] for name in ("ngu", "rnd"))
    assert ngu.novelty.learning_rate == 3e-3
    assert rnd.novelty == RNDConfig()
    assert rnd.learning == ngu.learning


def test_a_file_of_the_user_must_fit_the_bonus(tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text("novelty:\n  neighbours: 3\n")
    assert parsed("--env", "deep-sea", "--config", mine)[0].novelty.neighbours == 3
    with pytest.raises(SettingsError, match=r"there is no setting novelty.neighbours"):
        parsed("--env", "deep-sea", "--config", mine, "--bonus", "rnd")


def test_ppo_has_its_own_settings_and_on_atari_its_own_preset():
    settings, _, sources = parsed("--env", "Pong", "--agent", "ppo", "--device", "cpu")
    assert (sources, settings.bonus, settings.replay) == (["atari-ppo"], "rnd", None)
    assert (settings.learning, settings.novelty) == (PPOConfig(), RNDConfig())
    settings, _, sources = parsed("--env", "disco-maze", "--agent", "ppo", "--learning.clip", 0.2)
    assert (sources, settings.bonus) == (["disco-maze"], "ngu")
    assert settings.learning == PPOConfig(clip=0.2)
    assert settings.novelty.memory_capacity == 5000


def test_where_nothing_learns_there_is_nothing_to_set():
    settings, text, _ = parsed("--env", "deep-sea", "--agent", "random")
    assert (settings.learning, settings.replay, settings.novelty) == (None, None, None)
    assert not {"learning", "replay", "novelty"} & yaml.safe_load(text).keys()


def test_presets_of_an_installed_package_come_from_inside_it(tmp_path, monkeypatch):
    package = tmp_path / "ngu"
    monkeypatch.setattr(presets_module, "files", lambda name: package)
    assert presets_module.preset_folder() == tmp_path / "configs"
    (package / "configs").mkdir(parents=True)
    assert presets_module.preset_folder() == package / "configs"


def test_closest_names_few_and_lists_all_only_where_they_are_few():
    assert closest("Alpha", ["alpha", "beta"]) == "the closest are alpha"
    assert closest("zzz", ["alpha", "beta"]) == "there are alpha, beta"
    assert closest("zzz", [str(i) * 5 for i in range(17)]) == "none is close; --help lists them all"


def test_a_message_that_is_not_known_stays_as_it_is():
    assert sentence("Parser key  something\nnew", ()) == "something new"


def test_options_are_taken_out_of_a_command_line():
    known, rest = EarlyParser("resume", repeated=["config"]).parse_known_args(
        ["--config", "a", "--x", "1", "--config=b", "--res", "c"]
    )
    assert (known.resume, known.config, rest) == (None, ["a", "b"], ["--x", "1", "--res", "c"])
