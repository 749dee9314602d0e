"""The command that shows what a world model foresees: ``python -m ngu.predict RUN``."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ngu.command import exit_code_of
from ngu.console import log_to_console
from ngu.dreaming_players import DreamerPlayer
from ngu.open_loop import ERROR_OF, VECTOR_ERROR, OpenLoop, predict
from ngu.parsing import parse
from ngu.parts import make_envs
from ngu.run_folder import RunFolder
from ngu.seeding import Seeds
from ngu.sentences import reason
from ngu.settings import SettingsError, resolve_device
from ngu.video import check_video, write_video

logger = logging.getLogger("ngu")

_TOLD = (1, 2, 5, 10, 15, 20, 30, 45)
_COLUMNS, _WIDTH = 6, 720


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code, 2 for what the user has to mend."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    log_to_console()
    parser = argparse.ArgumentParser(
        prog="ngu.predict",
        description="Play new episodes with a trained dreamer, then let its world model predict "
        "them from their first observations and the actions alone. The run's folder is only read.",
        allow_abbrev=False,
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a dreamer's run")
    parser.add_argument("--episodes", type=int, default=64, help="episodes (%(default)s)")
    parser.add_argument("--context", type=int, default=5, help="observations seen (%(default)s)")
    parser.add_argument("--horizon", type=int, default=45, help="steps predicted (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of episodes and samples (%(default)s)")
    parser.add_argument("--video", type=Path, metavar="FILE", help="write a film, .mp4 or .gif")
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    known = parser.parse_args(arguments)
    return exit_code_of(lambda: _predict(known))


def _predict(known: argparse.Namespace) -> int:
    for name in ("episodes", "context", "horizon"):
        if getattr(known, name) < 1:
            raise SettingsError(f"--{name} must be at least 1, got {getattr(known, name)}")
    if known.seed < 0:
        raise SettingsError(f"--seed must be at least 0, got {known.seed}")
    if known.video is not None:
        check_video(known.video)
    folder = RunFolder.open(known.run)
    settings, _, _ = parse([], "ngu.predict", base=folder.path / "config.yaml")
    if settings.agent != "dreamer":
        raise SettingsError(
            f"a dreamer's run is expected, but the agent of {folder.path} is {settings.agent}"
        )
    path, state = folder.checkpoints.latest()
    device = resolve_device(settings.device)
    seed = Seeds(known.seed).integer("evaluation environments")
    envs = make_envs(settings, known.episodes, seed)
    try:
        if known.video is not None and len(envs.single_observation_space.shape or ()) < 2:
            raise SettingsError(f"{settings.env} shows vectors, of which there is no film")
        try:
            player = DreamerPlayer(
                envs, settings, state["session"]["agent"], seed=known.seed, device=device
            )
        except (KeyError, TypeError, RuntimeError, ValueError) as error:
            raise SettingsError(
                f"{path} does not fit the settings of its run, or is of another version: "
                f"{reason(error)}"
            ) from error
        seen = predict(envs, player, context=known.context, horizon=known.horizon, seed=known.seed)
    finally:
        envs.close()
    _tell(seen, f"{settings.env}, {path.name}: {known.episodes} episodes", known.json)
    if known.video is not None:
        width = seen.seen.shape[-2] * _COLUMNS
        frames = OpenLoop(
            seen.seen[:, :_COLUMNS],
            seen.predicted[:, :_COLUMNS],
            seen.alive[:, :_COLUMNS],
            seen.context,
            seen.codec,
        ).frames(zoom=2 * max(1, _WIDTH // (2 * width)))
        try:
            write_video(known.video, frames)
        except OSError as error:
            raise SettingsError(f"video cannot be written to {known.video}: {error}") from error
        logger.info("video: %s", known.video)
    return 0


def _tell(seen: OpenLoop, title: str, as_json: bool) -> None:
    errors = seen.errors()
    measure = ERROR_OF.get(type(seen.codec), VECTOR_ERROR)
    table = Table()
    table.add_column("steps ahead", justify="right")
    for name in errors:
        table.add_column(name, justify="right")
    steps = [step for step in _TOLD if step <= len(seen.predicted)]
    for step in steps:
        table.add_row(str(step), *(f"{error[step - 1]:.4g}" for error in errors.values()))
    Console().print(f"{title}; {measure}", table, sep="\n", highlight=False)
    if as_json:
        content = {name: error.tolist() for name, error in errors.items()}
        sys.stdout.write(json.dumps({"measure": measure, "errors": content}) + "\n")


if __name__ == "__main__":
    sys.exit(main())
