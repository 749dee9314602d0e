"""The command that records states: ``python -m ngu.record RUN`` or ``--env ENV``.

Plays a trained run, or random actions, and writes each state with its embedding, its picture, what
it was paid and why, and what is known of it: a dataset for `ngu.analysis`.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium.vector import VectorEnv
from rich.console import Console

from ngu.analysis.dataset_file import About, DatasetWriter
from ngu.bar import Bar
from ngu.command import exit_code_of
from ngu.console import log_to_console
from ngu.embedders import BonusEmbedder, Embedder, random_embedder, vae_embedder
from ngu.novelty.embedded import EmbeddingReward
from ngu.observed_pictures import picture_of
from ngu.parsing import parse
from ngu.played_novelty import Novelty
from ngu.played_run import chosen_policies, make_played_envs, make_player, policies_type
from ngu.players import LastingPlayer, Player, RandomPlayer
from ngu.run_folder import RunFolder, default_run_path
from ngu.sentences import SettingsError, at_least
from ngu.session import use_threads
from ngu.settings import TrainSettings, resolve_device
from ngu.states import Draw, StateRecorder
from ngu.training import Stop
from ngu_agents.base import Step
from ngu_envs import AtariConfig
from ngu_envs.labels import label_meanings
from ngu_envs.registered import SeededVectorEnv

logger = logging.getLogger("ngu")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code.

    0 when the steps are done, 130 or 143 when a signal stopped it, or what
    :func:`ngu.command.exit_code_of` says.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    console = log_to_console()
    known = _parser().parse_args(arguments)
    return exit_code_of(lambda: _record(known, console))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ngu.record",
        description="Play a trained run, or random actions, nothing learned, and write each state "
        "with its embedding, picture, rewards, novelty, neighbours and what is known of it. The "
        "run's checkpoints are only read.",
        allow_abbrev=False,
    )
    parser.add_argument("run", nargs="?", type=Path, metavar="RUN", help="folder of the run")
    parser.add_argument("--env", metavar="ENV", help="in place of RUN: random actions there")
    parser.add_argument(
        "--steps",
        type=at_least(2),
        default=50_000,
        metavar="N",
        help="states to write, over all environments (%(default)s)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="folder of the dataset, which must not exist yet (RUN/states, or a new one in runs/)",
    )
    parser.add_argument(
        "--embedding",
        metavar="WHICH",
        help="bonus: that of the run's bonus, the default with RUN; random: a random network, the "
        "default with --env; or a vae.safetensors, whose posterior means are taken",
    )
    parser.add_argument(
        "--num-envs",
        type=at_least(1),
        default=16,
        metavar="E",
        help="environments that play together (%(default)s)",
    )
    parser.add_argument(
        "--policies",
        type=policies_type,
        metavar="I,J,...",
        help="indices of policies of the family, which share the environments evenly; as evaluate "
        "takes them",
    )
    parser.add_argument(
        "--epsilon",
        type=float,
        default=0.01,
        metavar="SHARE",
        help="share of random actions of a family's policies (%(default)s)",
    )
    parser.add_argument(
        "--no-frames", action="store_true", help="write no pictures: smaller and faster"
    )
    parser.add_argument(
        "--seed", type=at_least(0), default=0, help="of episodes, actions, random network"
    )
    parser.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="where networks run; auto takes CUDA where there is one",
    )
    return parser


class _Played(NamedTuple):
    """What plays, and what it is called."""

    settings: TrainSettings
    out: Path
    checkpoint: Path | None
    state: Any


def _record(known: argparse.Namespace, console: Console) -> int:
    played = _played(known)
    settings = played.settings
    device = resolve_device(settings.device)
    use_threads(device)
    policies = chosen_policies(known.policies, settings)
    envs = _make_envs(settings, known)
    with closing(envs):
        player, playing = _player(played, envs, policies, known)
        embedder = _embedder(known, player, envs, device)
        observation, info = envs.reset()
        about = About(
            env=settings.env,
            agent=settings.agent,
            embedding=embedder.told,
            labels=label_meanings(envs, info),
            origin={
                "checkpoint": None if played.checkpoint is None else played.checkpoint.name,
                "seed": known.seed,
                "num_envs": known.num_envs,
                "epsilon": known.epsilon if settings.agent == "ngu" else None,
            },
        )
        writer = DatasetWriter(played.out, about)
        recorder = StateRecorder(
            envs,
            embedder,
            writer,
            draw=None if known.no_frames else _draw(envs, info),
            policies=playing if settings.agent == "ngu" else None,
        )
        logger.info("%s, embedded by %s: %s", settings.env, embedder.told, played.out)
        bar = Bar("recording", known.steps, 0, console, unit="states")
        with Stop() as stop, bar, closing(recorder):
            player.begin(observation, playing)
            recorder.begin(observation, info)
            _play(envs, player, recorder, known.steps, stop, bar)
    if stop.signal is not None:
        logger.info("stopped: %s states are in %s", f"{writer.rows:,}", played.out)
        return 128 + stop.signal
    logger.info("done: %s states in %s", f"{writer.rows:,}", played.out)
    return 0


def _play(
    envs: VectorEnv,
    player: LastingPlayer,
    recorder: StateRecorder,
    steps: int,
    stop: Stop,
    bar: Bar,
) -> None:
    """Play episodes on end until there are enough states."""
    done, written = np.zeros(envs.num_envs, dtype=bool), 0
    while written < steps and stop.signal is None:
        action = player.act()
        observation, reward, terminated, truncated, info = envs.step(action)
        step = Step(observation, np.asarray(reward, np.float32), terminated, truncated)
        stepped, done = ~done, step.done
        figures = player.observe(step, stepped)
        if not stepped.all():
            player.restart(~stepped)
        written += recorder.add(action, step, stepped, info, figures, most=steps - written)
        bar.show(written)


def _played(known: argparse.Namespace) -> _Played:
    if (known.run is None) == (known.env is None):
        given = "neither" if known.run is None else "both"
        raise SettingsError(f"one of RUN and --env must be given, got {given}")
    if not 0 <= known.epsilon <= 1:
        raise SettingsError(f"--epsilon must be a number in [0, 1], got {known.epsilon}")
    if known.run is None:
        arguments = [f"--env={known.env}", "--agent=random", f"--device={known.device}"]
        settings, _, _ = parse(arguments, "ngu.record")
        out = known.out or default_run_path(settings.env, "states", known.seed, "runs")
        return _Played(settings, out, None, None)
    folder = RunFolder.open(known.run)
    settings, _, _ = parse([], "ngu.record", base=folder.path / "config.yaml")
    settings = dataclasses.replace(settings, device=known.device)
    out = known.out or folder.path / "states"
    if settings.agent == "random":
        return _Played(settings, out, None, None)
    path, state = folder.checkpoints.latest()
    return _Played(settings, out, path, state)


def _make_envs(settings: TrainSettings, known: argparse.Namespace) -> VectorEnv:
    """Environments that can be drawn, where any can."""
    if isinstance(settings.options, AtariConfig) and not known.no_frames:
        with_screens = dataclasses.replace(settings.options, screens=True)
        settings = dataclasses.replace(settings, options=with_screens)
    envs = make_played_envs(settings, known.num_envs, known.seed)
    if not known.no_frames and _is_rendered(envs):
        envs.close()
        options: Any = settings.options or {}
        drawn = {**options, "render_mode": "rgb_array"}
        settings = dataclasses.replace(settings, options=drawn)
        envs = make_played_envs(settings, known.num_envs, known.seed)
    return envs


def _is_rendered(envs: VectorEnv) -> bool:
    """Whether people see more in what environments render than in what they observe."""
    draws = "rgb_array" in (envs.metadata.get("render_modes") or [])
    return isinstance(envs, SeededVectorEnv) and draws and not _is_picture(envs)


def _is_picture(envs: VectorEnv) -> bool:
    space = envs.single_observation_space
    small = isinstance(space, gymnasium.spaces.Box) and space.high.max() < 255
    return len(space.shape or ()) == 3 and not (small and isinstance(envs, SeededVectorEnv))


def _draw(envs: VectorEnv, info: dict[str, Any]) -> Draw | None:
    """How environments are drawn: by the console, by themselves, or as they are observed."""
    space = envs.single_observation_space
    if "screen" in info:
        return lambda _, info: info["screen"]
    if _is_rendered(envs):
        return lambda _, __: envs.render()
    if _is_picture(envs) and isinstance(space, gymnasium.spaces.Box):
        return lambda observation, _: [picture_of(one, space) for one in observation]
    return None


def _player(
    played: _Played, envs: VectorEnv, policies: Sequence[int], known: argparse.Namespace
) -> tuple[LastingPlayer, np.ndarray]:
    """Who plays, and the policy that plays each environment [E].

    Raises:
        SettingsError: what the run holds ends with an episode.
    """
    playing = np.resize(np.asarray(policies, np.int64), envs.num_envs)
    if played.checkpoint is None:
        return RandomPlayer(envs, seed=known.seed), playing
    player = make_player(
        played.settings,
        envs,
        played.state,
        played.checkpoint,
        epsilon=known.epsilon,
        seed=known.seed,
    )
    if not isinstance(player, LastingPlayer):
        raise SettingsError(
            f"the {played.settings.agent} agent has no policy that plays on: record random actions "
            "by --env, or a run that was trained from its trajectories"
        )
    return player, playing


def _embedder(known: argparse.Namespace, player: Player, envs: VectorEnv, device: Any) -> Embedder:
    """What embeds the states.

    Raises:
        SettingsError: there is no such embedding; says which there are.
    """
    which = known.embedding or ("random" if known.run is None else "bonus")
    space = envs.single_observation_space
    if which == "bonus":
        novelty: Novelty | None = getattr(player, "novelty", None)
        bonus = None if novelty is None else novelty.bonus
        if novelty is not None and isinstance(bonus, EmbeddingReward):
            return BonusEmbedder(bonus, novelty.latents)
        pays = "pays no bonus" if bonus is None else f"is paid by {type(bonus).__name__}"
        raise SettingsError(
            f"{known.run or 'a player of random actions'} {pays}, which embeds no states: give "
            "--embedding random, or --embedding vae.safetensors"
        )
    if which == "random":
        try:
            return random_embedder(space, envs.num_envs, seed=known.seed, device=device)
        except TypeError as error:
            raise SettingsError(str(error)) from error
    path = Path(which)
    if not path.exists():
        raise SettingsError(
            f"--embedding must be bonus, random or the file of an autoencoder, got {which!r}"
        )
    return vae_embedder(path, space, envs.num_envs, device=device)


if __name__ == "__main__":
    sys.exit(main())
