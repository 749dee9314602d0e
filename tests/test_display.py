import io
import logging
import math
from pathlib import Path

import pytest
from rich.console import Console

from ngu import display
from ngu.display import Display

METRICS = {
    "frames": 2_500_000,
    "steps": 625_000,
    "seconds": 3_725.0,
    "steps_per_second": 1_000.0,
    "episode_return": 33.33333,
    "episodes": 177,
    "rooms": 2,
    "intrinsic_reward": 0.03125,
    "episodic_novelty": 2.25,
    "lifelong_modulator": 1.5,
    "updates": 1_180,
    "replay_fill": 0.5,
    "replay_gb": 2.948,
    "memory_gb": 3.214,
    "loss/value": 0.000123,
    "loss/inverse_dynamics": 2.345,
}


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is moved."""
    now = [100.0]
    monkeypatch.setattr(display.time, "monotonic", lambda: now[0])
    return now


def terminal(width=80, height=24):
    return Console(force_terminal=True, width=width, height=height, file=io.StringIO())


def panel_of(shown):
    with shown.console.capture() as capture:
        shown.console.print(shown._render())
    return capture.get()


def test_panel_of_an_archive(clock):
    shown = Display(10_000_000, console=terminal())
    found = {"rooms": 14, "cells": 5064, "score_best": 1400.0, "archive_gb": 0.5}
    shown.update({"frames": 4, "steps": 1, "episode_return": None, **found})
    panel = panel_of(shown)
    for words in ("best score", "1,400", "rooms", "14", "cells", "5,064", "archive", "0.50 GB"):
        assert words in panel
    assert "episodes" not in panel


def test_panel_of_stages(clock):
    shown = Display(10_000, console=terminal())
    running = {"frames": 50, "steps": 50, "steps_per_second": 5.0, "generation": 0}
    shown.update({**running, "stage": 0, "stage_share": 0.5})
    panel = panel_of(shown)
    for words in ("1 of 4: collect, 50%", "0:33:10"):
        assert words in panel
    shown.update({**running, "stage": 1, "stage_share": 0.126, "see/kl": 16.25})
    panel = panel_of(shown)
    for words in ("2 of 4: see, 13%", "see/kl", "16.25"):
        assert words in panel
    assert "0:33:10" not in panel  # the frames of training tell nothing
    found = {"generation": 7, "fitness": 231.5, "fitness_best": 392.64, "predict/nats": 28.75}
    shown.update({**running, **found, "stage": 3, "stage_share": 1.0})
    panel = panel_of(shown)
    for words in ("4 of 4: control ", "generation", "7", "231.5", "392.6", "0:33:10"):
        assert words in panel
    assert "see/kl" not in panel
    assert "replay" not in panel


def test_panel_shows_each_value(clock):
    shown = Display(10_000_000, "MontezumaRevenge", terminal())
    shown.update(METRICS)
    panel = panel_of(shown)
    for words in [
        "MontezumaRevenge",
        "2,500,000 / 10,000,000 (25.0%)",
        "4,000",  # 1,000 steps/s of 4 frames
        "1:02:05",  # 3,725 s
        "0:31:15",  # 7,500,000 frames at 4,000 a second
        "33.33",
        "177",
        "0.03125",
        "2.25",
        "1.5",
        "1,180",
        "50%, 2.95 GB",
        "3.21 GB",
        "loss/value",
        "0.000123",
        "loss/inverse_dynamics",
        "2.345",
        "Ctrl-C stops and keeps everything",
    ]:
        assert words in panel


def test_clocks_go_on_between_updates(clock):
    shown = Display(10_000_000, console=terminal())
    shown.update(METRICS)
    shown.saved(Path("step-000000000007.safetensors"))
    clock[0] += 5
    panel = panel_of(shown)
    assert "1:02:10" in panel
    assert "0:31:10" in panel
    assert "5 seconds ago" in panel


def test_coverage_takes_the_place_of_rooms(clock):
    shown = Display(100, console=terminal())
    shown.update({"frames": 10, "coverage": 0.25})
    panel = panel_of(shown)
    assert "coverage" in panel
    assert "0.25" in panel
    assert "rooms" not in panel


def test_achievements_take_the_place_of_rooms(clock):
    shown = Display(100, console=terminal())
    shown.update({"frames": 10, "achievements_per_episode": 2.5, "crafter_score": 1.625})
    panel = panel_of(shown)
    for words in ("achievements per episode", "2.5", "crafter score", "1.625"):
        assert words in panel
    assert "rooms" not in panel


def test_updates_are_merged(clock):
    shown = Display(100, console=terminal())
    shown.update({"frames": 10, "episodes": 77})
    shown.update({"frames": 20}, log_point=False)
    panel = panel_of(shown)
    assert "77" in panel
    assert "20 / 100 (20.0%)" in panel


UNKNOWN = [
    {},
    {"frames": 0, "steps": 0, "steps_per_second": 0.0},
    {"frames": 5, "steps": 5, "steps_per_second": None, "episode_return": None},
    dict.fromkeys(METRICS),
    dict.fromkeys(METRICS, math.nan),
    dict.fromkeys(METRICS, math.inf),
    {"frames": 30, "steps": 30, "steps_per_second": 1e-30, "seconds": 1e300},
    {"frames": 300, "steps": 300, "steps_per_second": 1e300, "seconds": 0.0},
]


@pytest.mark.parametrize("metrics", [METRICS, *UNKNOWN], ids=range(9))
@pytest.mark.parametrize("width", [1, 2, 10, 20, 40, 67, 68, 80, 120, 400])
def test_any_terminal_shows_anything(clock, metrics, width):
    shown = Display(100, "[red]MontezumaRevenge[/blue]", terminal(width, 5))
    with shown:
        shown.update(metrics)
        lines = panel_of(shown).splitlines()
    assert lines


@pytest.mark.parametrize("width", [40, 80, 120])
def test_panel_fits_the_terminal(clock, width):
    shown = Display(10_000_000, "MontezumaRevenge", terminal(width))
    shown.update(METRICS)
    plain = Console(width=width, height=24, file=io.StringIO())
    with plain.capture() as capture:
        plain.print(shown._render())
    lines = capture.get().splitlines()
    assert max(map(len, lines)) <= width
    assert len(lines) <= 24


def test_how_long_it_takes_is_said_once_it_is_known(clock):
    console = terminal()
    with console.capture() as capture, Display(10_000_000, console=console) as shown:
        shown.update({"frames": 0, "steps": 0})
        shown.update(METRICS)
        shown.update(METRICS)
    text = " ".join(capture.get().split())
    assert text.count("7,500,000 frames to go at 4,000 frames/s: about 31 minutes.") == 1
    assert text.count("Ctrl-C stops at any time and keeps everything.") == 1


def test_no_fewer_than_no_frames_are_to_go(clock, caplog):
    with (
        caplog.at_level(logging.INFO),
        Display(2_499_998, console=Console(file=io.StringIO())) as shown,
    ):
        shown.update(METRICS)
    assert caplog.messages[0].startswith("0 frames to go at 4,000 frames/s: about 0 seconds.")


def test_no_terminal_gets_one_line_for_each_log_point(clock, caplog):
    output = io.StringIO()
    with (
        caplog.at_level(logging.INFO),
        Display(10_000_000, console=Console(file=output)) as shown,
    ):
        shown.update(METRICS, log_point=False)
        shown.update(METRICS)
        shown.update({"frames": 5_000_000, "steps": 1_250_000, "episode_return": None})
        shown.saved(Path("checkpoints/step-7"))
    assert output.getvalue() == ""
    assert caplog.messages == [
        "7,500,000 frames to go at 4,000 frames/s: about 31 minutes. "
        "Ctrl-C stops at any time and keeps everything.",
        "frames 2,500,000 / 10,000,000 (25.0%) | frames/s 4,000 | remaining 0:31:15 | "
        "elapsed 1:02:05 | memory used 3.21 GB | episode return 33.33 | episodes 177 | rooms 2 | "
        "intrinsic reward 0.03125 | episodic novelty 2.25 | lifelong modulator 1.5 | "
        "updates 1,180 | replay 50%, 2.95 GB | loss/inverse_dynamics 2.345 | loss/value 0.000123",
        "frames 5,000,000 / 10,000,000 (50.0%) | frames/s 4,000 | remaining 0:20:50 | "
        "elapsed 1:02:05 | memory used 3.21 GB | episodes 177 | rooms 2 | "
        "intrinsic reward 0.03125 | episodic novelty 2.25 | lifelong modulator 1.5 | "
        "updates 1,180 | replay 50%, 2.95 GB | loss/inverse_dynamics 2.345 | loss/value 0.000123",
        "checkpoint checkpoints/step-7",
    ]


def test_terminal_is_given_back_after_an_error(clock):
    console = terminal()
    shown = Display(100, console=console)
    with pytest.raises(TypeError), shown:
        shown.update(3)
    output = console.file
    assert isinstance(output, io.StringIO)
    assert output.getvalue().count("\x1b[?25l") == output.getvalue().count("\x1b[?25h") == 1


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (40, "40 seconds"),
        (89, "89 seconds"),
        (90, "2 minutes"),
        (2640, "44 minutes"),
        (5400, "1.5 hours"),
        (86400, "24.0 hours"),
        (181440, "2.1 days"),
    ],
)
def test_time_as_one_says_it(seconds, words):
    assert display._roughly(float(seconds)) == words


def test_no_frames_is_an_error():
    with pytest.raises(ValueError, match="total_frames is 0"):
        Display(0)
