"""Plays the best trajectory of an archive's run, and shows each room where it is entered first.

    python benchmarks/plot_trajectory.py runs/archive docs/results/archive.png --film archive.gif

Needs the extra "video". For games that tell their room.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from ngu.evaluation import Recording
from ngu.parsing import parse
from ngu.parts import make_envs
from ngu.pictures import pictures
from ngu.players import TrajectoryPlayer
from ngu.run_folder import RunFolder
from ngu_envs import is_restorable

_WIDTH, _HEIGHT, _LINE = 240, 160, 16


def main() -> None:
    """Play, draw, and print a line a room."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("picture", type=Path, help="PNG to write")
    parser.add_argument("--columns", type=int, default=5)
    parser.add_argument("--film", type=Path, help="GIF to write: the whole way, in small")
    parser.add_argument("--every", type=int, default=6, help="steps to a picture of the film")
    known = parser.parse_args()
    folder = RunFolder.open(known.run)
    settings, _, _ = parse([], "plot_trajectory", base=folder.path / "config.yaml")
    _, state = folder.checkpoints.latest()
    envs = make_envs(settings, 1, 0)
    assert is_restorable(envs)
    player = TrajectoryPlayer(envs, state["session"]["envs"])
    observation, _ = envs.reset()
    player.begin(observation, np.zeros(1, np.int64))
    recording = Recording(0)
    recording.begin(envs)
    rooms: list[int] = []
    for _ in range(player.length):
        action = player.act()
        observation, reward, _, _, info = envs.step(action)
        recording.add(observation, action, reward, {})
        rooms.append(int(info["room"][0]))
    scores = np.cumsum(recording.rewards)
    shown: dict[int, Any] = {}
    film = []
    for step, picture in enumerate(pictures(recording, envs, settings)):
        if rooms[step] not in shown:
            shown[rooms[step]] = (step + 1, scores[step], picture)
        if known.film and step % known.every == 0:
            line = f"room {rooms[step]} ({len(shown)} seen), {scores[step]:,.0f} points"
            film.append(_captioned(picture, line))
    envs.close()
    if known.film:
        film[0].save(
            known.film, save_all=True, append_images=film[1:], duration=60, loop=0, optimize=True
        )
    rows = -(-len(shown) // known.columns)
    sheet = Image.new("RGB", (known.columns * _WIDTH, rows * (_HEIGHT + _LINE)))
    for place, (room, (step, score, picture)) in enumerate(shown.items()):
        left, top = place % known.columns * _WIDTH, place // known.columns * (_HEIGHT + _LINE)
        line = f"room {room}: step {step:,}, {score:,.0f} points"
        sheet.paste(_captioned(picture, line), (left, top))
        print(line)
    print(f"{len(shown)} rooms, {scores[-1]:,.0f} points after {player.length:,} steps")
    sheet.save(known.picture)


def _captioned(picture: np.ndarray, line: str) -> Image.Image:
    frame = Image.new("RGB", (_WIDTH, _HEIGHT + _LINE))
    frame.paste(Image.fromarray(picture).resize((_WIDTH, _HEIGHT)), (0, _LINE))
    ImageDraw.Draw(frame).text((3, 2), line, fill="white")
    return frame


if __name__ == "__main__":
    main()
