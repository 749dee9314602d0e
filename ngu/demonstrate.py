"""The command that demonstrates an archive's best way: ``python -m ngu.demonstrate RUN``.

Goes along the way many times, by :mod:`ngu_agents.archive.splitting`, with chance at work where the
options ask for it, and writes every step that led on.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
from gymnasium.spaces import Discrete
from gymnasium.vector import VectorEnv
from rich.console import Console

from ngu.bar import Bar
from ngu.command import exit_code_of
from ngu.console import log_to_console
from ngu.parsing import parse
from ngu.parts import make_envs, shown_to, without_chance
from ngu.played_run import with_options
from ngu.players import trained_network
from ngu.run_folder import RunFolder
from ngu.seeding import Seeds
from ngu.sentences import SettingsError, at_least, reason
from ngu.settings import ARCHIVE_AGENTS, TrainSettings, resolve_device
from ngu.training import Stop
from ngu_agents.acting import Actor
from ngu_agents.archive.beginnings import TellingCells, after_lost_lives
from ngu_agents.archive.cells import Cells, DownscaledCells
from ngu_agents.archive.demonstrated import Demonstrated, Shown, joined
from ngu_agents.archive.guide import Guide
from ngu_agents.archive.lost_lives import LostLives, unknown_lives
from ngu_agents.archive.returning import Trajectory, best_trajectory
from ngu_agents.archive.splitting import Splitting, SplittingConfig
from ngu_agents.archive.visits import Life, Visits
from ngu_agents.archive.ways import Beginning, Way, played, shortest

logger = logging.getLogger("ngu")

# Columns and rows of a small picture that tells states apart. In the archive's own, which are
# coarser, the agent cannot be seen at some places, and what led on from one is tried in vain at
# another; in finer ones hardly any state comes again where enemies move.
_WIDTH, _HEIGHT = 14, 12
# Steps that a policy that takes part plays by itself before, in each environment.
_PLAYED = 1500


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code.

    0 when all is done, 130 or 143 when a signal stopped it, or what
    :func:`ngu.command.exit_code_of` says.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    console = log_to_console()
    known, options = _parser().parse_known_args(arguments)
    return exit_code_of(lambda: _demonstrate(known, options, console))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ngu.demonstrate",
        description="Go along the best way of an archive's run many times, with chance at work, "
        "and write every step that led on: demonstrations for Never Give Up's agent. The run's "
        "checkpoints are only read. Further arguments are options of the environments, such as "
        "--options.protocol sticky; those not given are as in the run.",
        allow_abbrev=False,
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of the archive's run")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="file to write (RUN/demonstrations.safetensors, or with --policy the file that it "
        "learned from)",
    )
    parser.add_argument(
        "--policy",
        type=Path,
        metavar="RUN",
        help="folder of a run that learned from demonstrations of this archive: its policy takes "
        "part, and what is new is added to what it learned from",
    )
    parser.add_argument(
        "--sweeps",
        type=at_least(1),
        default=8,
        metavar="N",
        help="times that states go along the way, each along the shortest one known by then "
        "(%(default)s)",
    )
    parser.add_argument(
        "--states",
        type=at_least(1),
        default=SplittingConfig.states,
        metavar="N",
        help="states that go along it together (%(default)s)",
    )
    parser.add_argument(
        "--spacing",
        type=at_least(1),
        default=SplittingConfig.spacing,
        metavar="STEPS",
        help="steps from one level to the next (%(default)s)",
    )
    parser.add_argument(
        "--score",
        type=float,
        metavar="POINTS",
        help="how far they go: to the first state with this score (to the best)",
    )
    parser.add_argument(
        "--num-envs",
        type=at_least(1),
        default=16,
        metavar="E",
        help="environments that step together (%(default)s)",
    )
    parser.add_argument("--seed", type=at_least(0), default=0, help="of chance and of all draws")
    return parser


def _demonstrate(known: argparse.Namespace, options: Sequence[str], console: Console) -> int:
    folder = RunFolder.open(known.run)
    archive, _, _ = parse([], "ngu.demonstrate", base=folder.path / "config.yaml")
    if archive.agent not in ARCHIVE_AGENTS:
        raise SettingsError(
            f"RUN must be the folder of an archive's run, but the agent of {folder.path} is "
            f"{archive.agent}"
        )
    policy = None if known.policy is None else _Policy.open(known.policy)
    out = known.out or (policy.path if policy else folder.path / "demonstrations.safetensors")
    if out.exists() and not (policy and out == policy.path):
        raise SettingsError(f"{out} exists already; --out FILE writes to another one")
    settings = with_options(folder, options, "ngu.demonstrate")
    envs = make_envs(settings, known.num_envs, Seeds(known.seed).integer("demonstrations"))
    with closing(envs), Stop() as stop:
        sweeps = _Sweeps(known, archive, folder, settings, envs, policy)
        way = sweeps.way
        logger.info("the way: %s steps to %s points", f"{len(way.actions):,}", f"{way.score:,g}")
        sweeps.run(stop, console)
    demonstrated = joined(sweeps.parts)
    count = np.count_nonzero(demonstrated.action >= 0)
    if not count:
        logger.info("nothing was demonstrated yet, and nothing is written")
        return 1 if stop.signal is None else 128 + stop.signal
    actions = int(cast(Discrete, envs.single_action_space).n)
    Shown(settings.env, actions, way.score, sweeps.steps, demonstrated).save(out)
    logger.info("%s demonstrated steps, by %s steps: %s", f"{count:,}", f"{sweeps.steps:,}", out)
    return 0 if stop.signal is None else 128 + stop.signal


@dataclass(frozen=True)
class _Policy:
    """A run that learned from demonstrations."""

    folder: RunFolder
    settings: TrainSettings

    @classmethod
    def open(cls, run: Path) -> _Policy:
        """Read the run's settings."""
        folder = RunFolder.open(run)
        settings, _, _ = parse([], "ngu.demonstrate", base=folder.path / "config.yaml")
        if settings.agent != "ngu" or settings.learning.demonstrations is None:
            raise SettingsError(f"the agent of {run} has learned from no demonstrations")
        return cls(folder, settings)

    @property
    def path(self) -> Path:
        """Of the file that it learned from."""
        return Path(self.settings.learning.demonstrations)

    def guide(self, envs: VectorEnv, seed: int) -> Guide:
        """The policy that exploits, as it plays in these environments."""
        path, state = self.folder.checkpoints.latest()
        device = resolve_device(self.settings.device)
        try:
            network = trained_network(envs, self.settings, state["session"]["agent"], device)
        except (KeyError, TypeError, RuntimeError, ValueError) as error:
            raise SettingsError(
                f"{path} does not fit these environments: {reason(error)}"
            ) from error
        actor = Actor(
            network,
            np.zeros(envs.num_envs),
            generator=Seeds(seed).numpy("guide"),
            device=device,
            policies=np.zeros(envs.num_envs, np.int64),
            temperature=self.settings.learning.temperature,
        )
        return Guide(actor, int(cast(Discrete, envs.single_action_space).start))


class _Sweeps:
    """Goes along a way again and again, each time along the shortest one known by then.

    Attributes:
        way: that is gone along next.
        parts: what was demonstrated, by the policy's file and by each sweep.
        steps: that were taken for it.
    """

    def __init__(
        self,
        known: argparse.Namespace,
        archive: TrainSettings,
        folder: RunFolder,
        settings: TrainSettings,
        envs: VectorEnv,
        policy: _Policy | None,
    ) -> None:
        self._known, self._settings, self._envs = known, settings, envs
        self._seeds = Seeds(known.seed)
        self.parts: list[Demonstrated] = []
        self.steps = 0
        self._guide, self._lives = None, list[Life]()
        if policy is not None:
            # Of the archive's game, or there is nothing that they could have in common.
            game = replace(policy.settings, env=archive.env)
            shown = shown_to(game, envs)
            self.parts.append(shown.demonstrated)
            self.steps += shown.steps
            self._guide = policy.guide(envs, known.seed)
        with closing(make_envs(archive, 1, 0)) as alone:
            _check_pictures(envs, alone)
            best = _best(folder, known.score)
            cells = _cells(archive, envs)
            lost = after_lost_lives(envs, cells, seed=self._seeds.integer("lost lives"))
            self.steps += lost.steps
            self._cells, self._beginnings = TellingCells(cells, lost.telling), lost.lost
            try:
                self.way = played(alone, self._cells, best)
            except ValueError as error:
                raise SettingsError(f"the best way of {folder.path}: {error}") from error
        self._found = self.way
        for learned in self.parts:
            known_way = shortest(
                learned,
                self._cells,
                self.way.score,
                first_action=int(cast(Discrete, envs.single_action_space).start),
                stacked=envs.metadata.get("frame_stack", 1) > 1,
            )
            self.way = known_way or self.way

    def run(self, stop: Stop, console: Console) -> None:
        """Make all sweeps, or as many as there are till a signal.

        A policy plays alone first, and lives that it lost may have a sweep of their own.
        """
        if self._guide is not None:
            self._lives = self._visited(self._guide, stop, console)
        for number in range(self._known.sweeps):
            name = f"sweep {number + 1} of {self._known.sweeps}"
            splitting = self._along(self.way, name, self._starts(number), stop, console)
            if stop.signal is not None:
                return
            ways = [self.way, splitting.shortest() or self.way]
            self.way = min(ways, key=lambda way: len(way.actions))
            logger.info("%s: the shortest way has %s steps", name, f"{len(self.way.actions):,}")
        if self._guide is None:
            return
        lost = self._lost_lives()
        if lost.way is not None:
            name = f"{len(lost.beginnings):,} lives that nothing known looks like"
            self._along(lost.way, name, lost.beginnings, stop, console, episodes=False)

    def _along(
        self,
        way: Way,
        name: str,
        beginnings: Sequence[Beginning],
        stop: Stop,
        console: Console,
        *,
        episodes: bool = True,
    ) -> Splitting:
        """A sweep, till a signal."""
        splitting = Splitting(
            self._envs,
            self._cells,
            way,
            config=SplittingConfig(self._known.states, self._known.spacing),
            seed=self._seeds.integer(name),
            beginnings=beginnings,
            episodes=episodes,
            guide=self._guide,
            lives=self._lives,
        )
        with Bar(name, splitting.levels, 0, console, unit="levels") as bar:
            while not splitting.over and stop.signal is None:
                self.steps += splitting.step()
                bar.show(splitting.level)
        self.parts.append(splitting.demonstrated())
        if splitting.given_up:
            logger.warning(
                "%s: %s of %s levels were reached, then only dead ends",
                name,
                splitting.level,
                splitting.levels,
            )
        else:
            logger.info("%s: there were %s dead ends", name, splitting.dead_ends)
        return splitting

    def _starts(self, number: int) -> list[Beginning]:
        """Some of the states after lost lives, other ones for each sweep."""
        beginnings = self._beginnings
        drawn = self._seeds.numpy(f"beginnings {number}").permutation(len(beginnings))
        return [beginnings[place] for place in drawn[: self._known.states]]

    def _lost_lives(self) -> LostLives:
        with closing(make_envs(without_chance(self._settings), self._known.num_envs, 0)) as envs:
            start = int(cast(Discrete, envs.single_action_space).start)
            lost = unknown_lives(envs, self._cells, self._lives, self._found, waiting=start)
        self.steps += lost.steps
        return lost

    def _visited(self, guide: Guide, stop: Stop, console: Console) -> list[Life]:
        visits = Visits(self._envs, self._cells, guide)
        with Bar("the policy alone", _PLAYED, 0, console, unit="steps") as bar:
            for step in range(_PLAYED):
                if stop.signal is not None:
                    break
                self.steps += visits.step()
                bar.show(step + 1)
        return visits.lives


def _best(folder: RunFolder, score: float | None) -> Trajectory:
    """The archive's shortest way to a score.

    Raises:
        SettingsError: there is none.
    """
    path, state = folder.checkpoints.latest()
    try:
        best = best_trajectory(state["session"]["envs"], score)
    except (KeyError, TypeError, ValueError) as error:
        raise SettingsError(f"{path} has no such way: {reason(error)}") from error
    if not best.actions:
        raise SettingsError(f"the best of {path} is where an episode begins")
    return best


def _check_pictures(envs: VectorEnv, alone: VectorEnv) -> None:
    """Check that pictures are of the shape that the archive saw.

    Raises:
        SettingsError: they are not.
    """
    here, there = _picture_shape(envs), _picture_shape(alone)
    if here != there:
        raise SettingsError(
            f"with these options a picture is {here} in place of {there}, as the archive saw it"
        )


def _picture_shape(envs: VectorEnv) -> tuple[int, ...]:
    """Of an observation, without the frames that are stacked."""
    shape = envs.single_observation_space.shape
    assert shape is not None
    return shape[-2:]


def _cells(settings: TrainSettings, envs: VectorEnv) -> Cells:
    config = settings.learning if settings.agent == "archive" else settings.learning.archive
    return DownscaledCells(
        envs.single_observation_space, width=_WIDTH, height=_HEIGHT, levels=config.cell_levels
    )


if __name__ == "__main__":
    sys.exit(main())
