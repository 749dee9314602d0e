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
from ngu.parts import make_envs
from ngu.played_run import with_options
from ngu.run_folder import RunFolder
from ngu.seeding import Seeds
from ngu.sentences import SettingsError, at_least, reason
from ngu.settings import ARCHIVE_AGENTS, TrainSettings
from ngu.state_file import save_tree
from ngu.training import Stop
from ngu_agents.archive.cells import Cells
from ngu_agents.archive.demonstrated import Demonstrated, joined
from ngu_agents.archive.returning import best_trajectory, downscaled_cells
from ngu_agents.archive.splitting import Splitting, SplittingConfig
from ngu_agents.archive.ways import Way, played

logger = logging.getLogger("ngu")


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
        help="file to write (RUN/demonstrations.safetensors)",
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
    out = known.out or folder.path / "demonstrations.safetensors"
    if out.exists():
        raise SettingsError(f"{out} exists already; --out FILE writes to another one")
    settings = with_options(folder, options, "ngu.demonstrate")
    way, shape = _way(folder, archive, known.score)
    logger.info("the way: %s steps to %s points", f"{len(way.actions):,}", f"{way.score:,g}")
    envs = make_envs(settings, known.num_envs, Seeds(known.seed).integer("demonstrations"))
    with closing(envs), Stop() as stop:
        if _picture_shape(envs) != shape:
            raise SettingsError(
                f"with these options a picture is {_picture_shape(envs)} in place of {shape}, as "
                "the archive saw it"
            )
        steps, sweeps = _sweeps(known, envs, _cells(archive, envs), way, stop, console)
    demonstrated = joined(sweeps)
    count = np.count_nonzero(demonstrated.action >= 0)
    if not count:
        logger.info("nothing was demonstrated yet, and nothing is written")
        return 1 if stop.signal is None else 128 + stop.signal
    about = {
        "env": settings.env,
        "actions": int(cast(Discrete, envs.single_action_space).n),
        "score": way.score,
        "steps": steps,
    }
    save_tree(out, {"about": about, "demonstrated": demonstrated._asdict()})
    logger.info("%s demonstrated steps, by %s steps: %s", f"{count:,}", f"{steps:,}", out)
    return 0 if stop.signal is None else 128 + stop.signal


def _sweeps(
    known: argparse.Namespace,
    envs: VectorEnv,
    cells: Cells,
    way: Way,
    stop: Stop,
    console: Console,
) -> tuple[int, list[Demonstrated]]:
    """Go along the way again and again; returns the steps taken, and those that led on."""
    config = SplittingConfig(known.states, known.spacing)
    parts: list[Demonstrated] = []
    steps = 0
    for sweep in range(known.sweeps):
        seed = Seeds(known.seed).integer(f"sweep {sweep}")
        splitting = Splitting(envs, cells, way, config=config, seed=seed)
        name = f"sweep {sweep + 1} of {known.sweeps}"
        with Bar(name, splitting.levels, 0, console, unit="levels") as bar:
            while not splitting.over and stop.signal is None:
                steps += splitting.step()
                bar.show(splitting.level)
        parts.append(splitting.demonstrated())
        if stop.signal is not None:
            break
        if splitting.given_up:
            logger.warning(
                "%s: %s of %s levels were reached, then only dead ends",
                name,
                splitting.level,
                splitting.levels,
            )
        ways = [way, splitting.shortest() or way]
        way = min(ways, key=lambda known: len(known.actions))
        logger.info("%s: the shortest way has %s steps", name, f"{len(way.actions):,}")
    return steps, parts


def _way(
    folder: RunFolder, settings: TrainSettings, score: float | None
) -> tuple[Way, tuple[int, ...]]:
    """The archive's shortest way to a score, played once more, and the shape of its pictures.

    Raises:
        SettingsError: there is none.
    """
    path, state = folder.checkpoints.latest()
    with closing(make_envs(settings, 1, 0)) as envs:
        try:
            best = best_trajectory(state["session"]["envs"], score)
            way = played(envs, _cells(settings, envs), best)
        except (KeyError, TypeError, ValueError) as error:
            raise SettingsError(f"{path} has no such way: {reason(error)}") from error
        if not way.actions:
            raise SettingsError(f"the best of {path} is where an episode begins")
        return way, _picture_shape(envs)


def _picture_shape(envs: VectorEnv) -> tuple[int, ...]:
    """Of an observation, without the frames that are stacked."""
    shape = envs.single_observation_space.shape
    assert shape is not None
    return shape[-2:]


def _cells(settings: TrainSettings, envs: VectorEnv) -> Cells:
    config = settings.learning if settings.agent == "archive" else settings.learning.archive
    return downscaled_cells(envs, config)


if __name__ == "__main__":
    sys.exit(main())
