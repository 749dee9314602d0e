import dataclasses
import json
import logging

import pytest

from ngu import bench
from ngu.bench import main
from ngu.parsing import parse

TINY = [
    *("--learning.features", "8", "--learning.hidden", "8", "--learning.batch_size", "2"),
    *("--learning.bonus_batch_size", "6", "--learning.replay_ratio", "0.5"),
    *("--replay.trace_length", "6", "--replay.period", "3", "--replay.capacity_steps", "2000"),
    *("--novelty.memory_capacity", "50"),
]
SHORT = ["--num-envs", "2", "--device", "cpu", "--log.steps", "50"]


@pytest.fixture(autouse=True)
def quiet_root():
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = before


def last_line(capsys) -> dict:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def check_stages(stages: dict, expected: set[str]) -> None:
    assert stages.keys() >= expected
    for stage in stages.values():
        assert stage.keys() == {"seconds", "share", "us_per_step", "gflops", "thread"}
        assert stage["us_per_step"] >= 0
        assert stage["thread"] in ("acting", "learner")


def test_training_ends_with_an_object_of_all_stages(capsys):
    words = [
        "train",
        "--env",
        "deep-sea",
        "--options.size",
        "5",
        *TINY,
        *SHORT,
        "--seconds",
        "1",
        "--json",
    ]
    assert main(words) == 0
    measured = last_line(capsys)
    assert measured.keys() == {"steps_per_second", "memory_gb", "stages"}
    assert measured["steps_per_second"] > 0
    assert 0 < measured["memory_gb"] < 100
    stages = measured["stages"]
    check_stages(
        stages,
        {
            "environment", "inference", "novelty", "replay", "logging", "learner: values",
            "learner: novelty", "everything else",
        },
    )  # fmt: skip
    for name in ("inference", "novelty", "learner: values", "learner: novelty"):
        assert stages[name]["gflops"] > 0
    acting = sum(stage["share"] for stage in stages.values() if stage["thread"] == "acting")
    assert acting == pytest.approx(1.0)
    assert stages["everything else"]["share"] >= 0


def test_training_measures_the_random_agent_too(capsys):
    words = ["train", "--env", "deep-sea", "--agent", "random", *SHORT, "--seconds", "0.2"]
    assert main([*words, "--json"]) == 0
    measured = last_line(capsys)
    assert measured["steps_per_second"] > 0
    check_stages(measured["stages"], {"environment", "inference", "everything else"})


def test_novelty_ends_with_an_object_of_all_stages(capsys, monkeypatch):
    monkeypatch.setattr(bench, "_search_time", lambda num_envs, entries, device: entries / 100)
    words = ["novelty", "--env", "deep-sea", "--num-envs", "2", "--steps", "30", "--json"]
    assert main([*words, "--device", "cpu"]) == 0
    measured = last_line(capsys)
    assert measured["transitions_per_second"] > 0
    assert measured["transitions_per_second_all_trained"] > 0
    assert measured["search_us"] == {"100": 1.0, "30000": 300.0}
    names = {f"{part}, {when}" for part in ("score", "update") for when in
             ("own schedule", "every transition")}  # fmt: skip
    check_stages(measured["stages"], names)


def test_a_search_is_timed():
    assert bench._search_time(2, 20, bench.resolve_device("cpu")) > 0


def test_without_json_there_is_a_table(capsys):
    words = ["novelty", "--env", "deep-sea", "--num-envs", "1", "--steps", "2", "--device", "cpu"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench, "_search_time", lambda num_envs, entries, device: 1.0)
        assert main(words) == 0
    told = capsys.readouterr().out
    assert "transitions/s" in told
    assert "us per step" in told
    assert "{" not in told


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["train", "--env", "Montezuma"], "the closest names are MontezumaRevenge"),
        (["train", "--seconds", "0"], "seconds must be above 0, got 0.0"),
        (["train", "--learning.batch_sise", "3"], "there is no option --learning.batch_sise"),
        (["train", "--env", "Pendulum-v1"], "action_space must be Discrete"),
        (["novelty", "--env", "Montezuma"], "the closest names are MontezumaRevenge"),
        (["novelty", "--steps", "1"], "steps must be at least 2"),
        (["novelty", "--foo", "1"], "bench novelty has no option --foo"),
    ],
)
def test_bad_input_is_one_sentence(capsys, words, sentence):
    assert main(words) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("words", [[], ["fly"], ["novelty", "--num-envs", "x"]])
def test_bad_words_of_its_own_leave_with_code_two(capsys, words):
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_nothing_is_measured_with_other_settings_than_training(monkeypatch):
    seen = []
    monkeypatch.setattr(bench, "open_session", lambda settings: seen.append(settings) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["train", "--env", "MontezumaRevenge", "--device", "cpu", "--seconds", "1"])
    (settings,) = seen
    training, _, _ = parse(["--env", "MontezumaRevenge", "--device", "cpu"], "test")
    early = dataclasses.replace(training.replay, min_sequences=2 * training.learning.batch_size)
    assert settings == dataclasses.replace(training, replay=early)


def test_the_world_model_and_imagination_by_stage(capsys):
    words = [
        *("world", "--env", "deep-sea", "--options.size", "5", "--bonus", "none", *SHORT),
        *("--learning.world.rssm.deterministic_size", "8", "--learning.world.rssm.hidden", "8"),
        *("--learning.world.hidden", "8", "--learning.hidden", "8", "--learning.batch_size", "2"),
        *("--learning.horizon", "3", "--learning.replay_ratio", "4", "--replay.trace_length", "4"),
        *("--replay.period", "2", "--replay.capacity_steps", "2000"),
    ]
    assert main([*words, "--seconds", "0.2", "--json"]) == 0
    figures = last_line(capsys)
    expected = {"model", "imagination", "behaviour"}
    check_stages(figures["stages"], {f"learner: {stage}" for stage in expected} | {"environment"})
    assert all(figures["stages"][f"learner: {stage}"]["gflops"] > 0 for stage in expected)
    frames, learning = figures["model_frames_per_second"], figures["replayed_frames_per_second"]
    assert frames > learning > 0
    imagining = sum(
        figures["stages"][f"learner: {stage}"]["seconds"] for stage in ("imagination", "behaviour")
    )
    steps = figures["imagined_steps_per_second"] * imagining
    replayed = frames * figures["stages"]["learner: model"]["seconds"]
    assert steps == pytest.approx(3 * replayed)  # the horizon
    assert figures["parameters"] > 1000
    assert figures["peak_gflops"] > 0
