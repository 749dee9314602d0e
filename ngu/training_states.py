"""The states that a run in training comes to, recorded on the way for `ngu.analysis`."""

from __future__ import annotations

from pathlib import Path

import gymnasium
import numpy as np

from ngu.analysis.dataset_file import About, DatasetWriter
from ngu.embedders import BonusEmbedder
from ngu.novelty.embedded import EmbeddingReward
from ngu.observed_pictures import picture_of
from ngu.session import Session
from ngu.states import Draw, StateRecorder
from ngu_agents.loop import Progress
from ngu_envs.labels import label_meanings

FOLDER = "training-states"
"""In a run's folder: a dataset for each time that it was begun or gone on with."""


class TrainingStates:
    """Records the states of a session's first environments, each from its next episode on.

    Args:
        session: of the run.
        run: its folder.
    """

    def __init__(self, session: Session, run: Path) -> None:
        self._session = session
        bonus = getattr(session.agent, "bonus", None)
        assert isinstance(bonus, EmbeddingReward)  # as the settings have seen to
        self._bonus = bonus
        self._folder = run / FOLDER
        self._recorder: StateRecorder | None = None

    def add(self, progress: Progress) -> None:
        """Take one step of all environments."""
        if self._recorder is None:
            self._recorder = self._begun(progress)
        paid = {"intrinsic_reward": progress.reward_int, **self._bonus.parts}
        self._recorder.add(progress.action, progress.step, progress.stepped, progress.info, paid)

    def close(self) -> None:
        """Write what is buffered."""
        if self._recorder is not None:
            self._recorder.close()

    def _begun(self, progress: Progress) -> StateRecorder:
        session, settings = self._session, self._session.settings
        embedder = BonusEmbedder(self._bonus, getattr(session.agent, "latents", None))
        steps = progress.steps - int(progress.stepped.sum())
        about = About(
            env=settings.env,
            agent=settings.agent,
            embedding=f"{embedder.told}, in training",
            labels=label_meanings(session.envs, progress.info),
            origin={"steps": steps, "seed": settings.seed, "num_envs": settings.num_envs},
        )
        return StateRecorder(
            session.envs,
            embedder,
            DatasetWriter(_free(self._folder / f"from-step-{steps}"), about),
            draw=_draw(session.envs.single_observation_space),
            environments=settings.states.environments,
        )


def _draw(space: gymnasium.Space[np.ndarray]) -> Draw | None:
    """Observations that are pictures, as they are."""
    if not isinstance(space, gymnasium.spaces.Box) or len(space.shape) != 3:
        return None
    return lambda observation, _: [picture_of(one, space) for one in observation]


def _free(folder: Path) -> Path:
    """The folder, or where there is one already the next of that name."""
    free, count = folder, 1
    while free.exists():
        count += 1
        free = folder.with_name(f"{folder.name}-{count}")
    return free
