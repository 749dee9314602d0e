"""The command that evaluates: ``python -m ngu.evaluate RUN``.

Plays whole episodes with policies of a trained run, nothing learned, and prints what each reached.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from gymnasium.vector import VectorEnv
from rich.console import Console
from rich.progress import Progress

from ngu.command import exit_code_of
from ngu.console import log_to_console
from ngu.evaluation import Episode, Recording, play
from ngu.pictures import draws, pictures
from ngu.played_run import (
    chosen_policies,
    make_played_envs,
    make_player,
    policies_type,
    with_options,
)
from ngu.players import Player, TrajectoryPlayer
from ngu.policy_table import policy_row, print_table
from ngu.run_folder import RunFolder
from ngu.sentences import at_least
from ngu.settings import ARCHIVE_AGENTS, SettingsError, TrainSettings, resolve_device
from ngu.video import check_video, compose, write_video

logger = logging.getLogger("ngu")

MOST_ENVS = 32
"""Environments that play together, unless more policies are asked for."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code, 2 for what the user has to mend."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    log_to_console()
    known, options = _parser().parse_known_args(arguments)
    return exit_code_of(lambda: _evaluate(known, options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ngu.evaluate",
        description="Play whole episodes with policies of a trained run, nothing learned, and "
        "print what each policy reached. The run's folder is only read. Further arguments are "
        "options of the environments in place of the run's, such as --options.noop_max 30.",
        allow_abbrev=False,
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of the run")
    parser.add_argument(
        "--episodes",
        type=at_least(1),
        metavar="N",
        help="of each policy (4; of an archive's best trajectory 1)",
    )
    parser.add_argument(
        "--policies",
        type=policies_type,
        metavar="I,J,...",
        help="indices of policies of the family, from 0, which exploits, up to the one that "
        'explores most; "all" for all (by default up to 8, spread from the first to the last)',
    )
    parser.add_argument(
        "--epsilon",
        type=_share,
        default=0.01,
        metavar="SHARE",
        help="share of random actions (%(default)s, the paper's; it takes 0 on Disco Maze)",
    )
    parser.add_argument(
        "--max-steps",
        type=at_least(1),
        default=27_000,
        metavar="N",
        help="steps after which an episode is cut (%(default)s, 30 minutes of Atari)",
    )
    parser.add_argument(
        "--seed", type=at_least(0), default=0, help="of episodes and random actions (%(default)s)"
    )
    parser.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="where networks run; auto takes CUDA where there is one",
    )
    parser.add_argument(
        "--video",
        type=Path,
        metavar="FILE",
        help="write an episode as .mp4 or .gif, its novelty under the picture; an existing file "
        "is replaced",
    )
    parser.add_argument(
        "--video-policy",
        type=at_least(0),
        metavar="I",
        help="whose first episode the video shows, one of those played (the last)",
    )
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    return parser


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number, got {text!r}") from None
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a number in [0, 1], got {text}")
    return value


def _evaluate(known: argparse.Namespace, options: Sequence[str]) -> int:
    folder = RunFolder.open(known.run)
    settings = with_options(folder, options, "ngu.evaluate")
    settings = dataclasses.replace(settings, device=known.device)
    resolve_device(settings.device)
    policies = chosen_policies(known.policies, settings)
    if known.video is not None:
        check_video(known.video)
    elif known.video_policy is not None:
        raise SettingsError("--video-policy is of use with --video FILE only")
    shown = policies[-1] if known.video_policy is None else known.video_policy
    if shown not in policies:
        raise SettingsError(f"--video-policy must be one of those played, {policies}, got {shown}")
    if settings.agent in ARCHIVE_AGENTS and (known.episodes or 1) > 1:
        raise SettingsError("--episodes must be 1: an archive's trajectory is the same every time")
    known.episodes = known.episodes or (1 if settings.agent in ARCHIVE_AGENTS else 4)
    path, state = folder.checkpoints.latest()
    slots = len(policies) * known.episodes
    envs = make_played_envs(settings, min(slots, max(MOST_ENVS, len(policies))), known.seed)
    try:
        if known.video is not None and not draws(envs):
            raise SettingsError(f"{settings.env} has no picture to make a video of")
        player = make_player(settings, envs, state, path, epsilon=known.epsilon, seed=known.seed)
        if isinstance(player, TrajectoryPlayer):
            known.max_steps = min(known.max_steps, player.length)
        recording = Recording(policies.index(shown)) if known.video is not None else None
        steps = state["session"]["loop"]["steps"]
        who = _named(policies, settings)
        logger.info("%s after %d steps: %d episodes of %s", path.name, steps, known.episodes, who)
        episodes = _played(envs, player, policies, recording, known)
    finally:
        envs.close()
    progress = envs.metadata.get("progress")
    rows = [policy_row(policy, episodes, settings, progress) for policy in policies]
    how = f", epsilon {known.epsilon}" if settings.agent == "ngu" else ""
    print_table(rows, f"{settings.agent} on {settings.env}, {path.name}{how}")
    if known.video is not None and recording is not None:
        title = f"policy {shown}" if settings.agent == "ngu" else settings.agent
        frames = compose(
            pictures(recording, envs, settings), recording.novelty, recording.rewards, title
        )
        try:
            write_video(known.video, frames)
        except OSError as error:
            raise SettingsError(f"video cannot be written to {known.video}: {error}") from error
        logger.info("video: %s, %d steps", known.video, len(recording.rewards))
    if known.json:
        content = {
            "run": str(folder.path),
            "env": settings.env,
            "agent": settings.agent,
            "checkpoint": path.name,
            "steps": steps,
            "seed": known.seed,
            "epsilon": known.epsilon,
            "policies": rows,
        }
        sys.stdout.write(json.dumps(content) + "\n")
    return 0


def _named(policies: Sequence[int], settings: TrainSettings) -> str:
    if settings.agent == "random":
        return "random actions"
    if settings.agent in ("ppo", "dreamer"):
        return "its policy"
    if settings.agent in ARCHIVE_AGENTS:
        return "its best trajectory"
    if settings.agent == "world-models":
        return "its controller"
    count = settings.learning.num_policies
    if len(policies) == count:
        return f"each of the {count} policies"
    return f"policies {', '.join(map(str, policies))} of {count} (--policies chooses others)"


def _played(
    envs: VectorEnv,
    player: Player,
    policies: Sequence[int],
    recording: Recording | None,
    known: argparse.Namespace,
) -> list[Episode]:
    console = Console(stderr=True)
    episodes = []
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("episodes", total=len(policies) * known.episodes)
        for episode in play(
            envs,
            player,
            policies,
            known.episodes,
            max_steps=known.max_steps,
            recording=recording,
        ):
            episodes.append(episode)
            bar.advance(task)
    return episodes


if __name__ == "__main__":
    sys.exit(main())
