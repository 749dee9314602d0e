"""World Models: an agent that learns to see, then to predict, and then to act on what both tell.

Source: Ha and Schmidhuber, "World Models" (arXiv 1803.10122): random actions collect pictures, an
autoencoder (V) learns to see them in a few numbers, a recurrent network (M) to predict those, and
evolution finds a linear controller (C) that reads both, in the environments or in M's dreams.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import gymnasium
import numpy as np
import torch
from jaxtyping import Float

from ngu.precision import resolve_precision
from ngu.seeding import Seeds, generator_state, set_generator_state
from ngu.stopwatch import Stopwatch
from ngu.world.mdn_rnn_training import MDNRNNTraining, Sequences
from ngu.world.vae_training import VAETraining
from ngu_agents.base import Figures, Step
from ngu_agents.held_actions import HeldActions
from ngu_agents.world_models.acting import WorldModelsActor
from ngu_agents.world_models.collection import Collection
from ngu_agents.world_models.config import WorldModelsConfig
from ngu_agents.world_models.dreaming import beginnings, dream_returns
from ngu_agents.world_models.evolution import Evolution
from ngu_agents.world_models.trials import Trials

logger = logging.getLogger(__name__)

Stage = Literal["collect", "see", "predict", "control"]
STAGES: tuple[Stage, ...] = ("collect", "see", "predict", "control")

# An update of the recurrent network takes about as long as a step of a few environments.
_PREDICTING_UPDATES = 10


class WorldModelsAgent:
    """Agent of four stages: collect, see, predict, control.

    In the first three it holds random actions; while it trains its networks, what those lead to is
    not looked at. In the last, each environment plays whole episodes of the controllers of a
    generation in turn, or of the evolution's mean where that goes on in dreams.

    Args:
        observation_space: of a single environment: pictures of bytes, at least 16 x 16.
        action_space: of a single environment; Discrete, MultiDiscrete or a bounded Box of floats.
        num_envs: environments E.
        config: the agent's settings; None takes the defaults.
        seed: of all its generators.
        device: where networks live.
        precision: of the convolutions, see :func:`ngu.precision.resolve_precision`.

    Raises:
        TypeError: a space is of a kind that is not read; names the wrapper to use.
        ValueError: a setting does not fit another, or a space; says which.
        ImportError: the package cma is missing.
    """

    def __init__(
        self,
        observation_space: gymnasium.Space[Any],
        action_space: gymnasium.Space[Any],
        num_envs: int,
        *,
        config: WorldModelsConfig | None = None,
        seed: int,
        device: torch.device | str = "cpu",
        precision: str = "auto",
    ) -> None:
        self.config = config = WorldModelsConfig() if config is None else config
        self.stopwatch = Stopwatch()
        self._seed, self._device, self._precision = seed, torch.device(device), precision
        self.actor = WorldModelsActor(
            observation_space,
            action_space,
            num_envs,
            config=config,
            seed=seed,
            device=self._device,
            dtype=resolve_precision(precision, self._device),
        )
        rows = math.ceil(config.collected / num_envs)
        config.seeing.held_out(rows * num_envs)
        config.predicting.trained_on(rows)
        controller, seeds = self.actor.controller, Seeds(seed)
        shape = self.actor.vae.observation_shape
        self.collection = Collection(rows, num_envs, shape, controller.spec.size)
        self.evolution = Evolution(
            controller.size, population=config.population, deviation=config.deviation, seed=seed
        )
        self.trials = Trials(num_envs, controller.size)
        self._held_actions = HeldActions(action_space, num_envs, seed=seed)
        self._dream_starts = seeds.numpy("beginnings of dreams")
        self._dream_noise = seeds.torch("dreams", self._device)
        self._seeing: VAETraining | None = None
        self._seeing_updates: Iterator[dict[str, float]] = iter(())
        self._seeing_state: dict[str, Any] | None = None
        self._predicting: MDNRNNTraining | None = None
        self._sequences: Sequences | None = None
        self._unpaid = np.zeros(num_envs, dtype=np.float32)
        self._observation = np.empty(0)
        self._first = np.ones(num_envs, dtype=bool)
        self._done = np.zeros(num_envs, dtype=bool)

    @property
    def stage(self) -> Stage:
        """What it does now."""
        if self._predicting is not None:
            return "control" if self._predicting.done else "predict"
        return "see" if self.collection.full else "collect"

    @property
    def reward_int(self) -> np.ndarray:
        """Zeros [E]: nothing is paid."""
        return self._unpaid

    def begin(self, observation: np.ndarray) -> None:
        """Take the observations [E, ...] of a reset of all environments.

        Episodes that controllers were in are played again later.
        """
        everywhere = np.ones(len(observation), dtype=bool)
        self._observation = observation
        self._first, self._done = everywhere, ~everywhere
        self._begin(everywhere)

    def act(self) -> np.ndarray:
        """Actions [E] for the last observations."""
        with self.stopwatch("inference"):
            if self.stage == "control":
                self._action = self.actor.act(self._observation, self.trials.weights)
            else:
                self._action = self._held_actions()
        return self._action

    def observe(self, step: Step) -> Figures:
        """Keep what happened, or count what it was paid; no figures."""
        if self.stage == "collect":
            self._collect(step)
        if self.stage == "control":
            self.trials.observe(step.reward, step.done)
        self._first, self._done = self._done, step.done
        self._observation = step.observation
        self._begin(self._first)
        return {}

    def learn(self) -> Figures:
        """Train for a moment, or dream a generation; returns the metrics of what has finished."""
        stage = self.stage
        if stage == "collect":
            return {}
        with self.stopwatch("learner"):
            if stage == "see":
                return self._see()
            return self._predict() if stage == "predict" else self._evolve()

    def status(self) -> Figures:
        """The stage (0 to 3), and how far it is: pictures, updates of its network, generations.

        `stage_share` of the stage is done; evolution has no end, and it stays 1 there.
        """
        seeing, predicting = self._seeing, self._predicting
        rows = self.collection.size if self._sequences is None else self.collection.rows
        updates, share = 0, rows / self.collection.rows
        if seeing is not None:
            updates, share = seeing.updates, seeing.updates / seeing.total_updates
        elif predicting is not None:
            updates, share = predicting.updates, predicting.updates / self.config.predicting.updates
        return {
            "stage": STAGES.index(self.stage),
            "stage_share": share,
            "collected": rows * len(self._unpaid),
            "updates": updates,
            "generation": self.evolution.generation,
        }

    def save(self, folder: Path | None) -> dict[str, Any]:
        """The whole state; pictures go to files in ``folder`` until they are encoded."""
        seeing, sequences, predicting = self._seeing, self._sequences, self._predicting
        files = list[dict[str, Any]]()
        if folder is not None and sequences is None:
            files = self.collection.save(folder)
        return {
            "files": files,
            "vae": self.actor.vae.state_dict(),
            "seeing": self._seeing_state if seeing is None else seeing.state_dict(),
            "sequences": None if sequences is None else sequences._asdict(),
            "predicting": None if predicting is None else predicting.state_dict(),
            "evolution": self.evolution.state_dict(),
            "trials": self.trials.state_dict(),
            "memory": self.actor.memory,
            "held_actions": self._held_actions.state_dict(),
            "dream_starts": generator_state(self._dream_starts),
            "dream_noise": self._dream_noise.get_state(),
            "observation": self._observation,
            "first": self._first,
            "done": self._done,
        }

    def load(self, folder: Path | None, state: dict[str, Any]) -> bool:
        """Take back what :meth:`save` returned and wrote.

        Returns:
            Whether episodes can go on; False where pictures were needed and none loaded: they are
            collected anew then.

        Raises:
            DamagedCheckpoint: a file in ``folder`` is damaged.
            ValueError: the state is of other settings.
        """
        if folder is not None:
            self.collection.load(folder, state["files"])
        self.actor.vae.load_state_dict(state["vae"])
        self._seeing_state = state["seeing"]
        if state["sequences"] is not None:
            self._keep(Sequences(**state["sequences"]))
        elif self.collection.full:
            self._begin_seeing()
        if self._predicting is not None:
            self._predicting.load_state_dict(state["predicting"])
        self.evolution.load_state_dict(state["evolution"])
        self.trials.load_state_dict(state["trials"])
        self.actor.memory = state["memory"].to(self._device)
        self._held_actions.load_state_dict(state["held_actions"])
        set_generator_state(self._dream_starts, state["dream_starts"])
        self._dream_noise.set_state(state["dream_noise"])
        self._observation = state["observation"]
        self._first, self._done = state["first"], state["done"]
        return folder is not None or self._sequences is not None

    def files(self, state: dict[str, Any]) -> set[str]:
        """Names of the files with pictures that a state needs."""
        return {file["name"] for file in state["files"]}

    def close(self) -> None:
        """Nothing to free."""

    def _begin(self, where: np.ndarray) -> None:
        if self.stage == "control":
            self.actor.begin(where)
            self.trials.begin(where)

    def _collect(self, step: Step) -> None:
        spec = self.actor.controller.spec
        self.collection.add(
            picture=self.actor.seen(self._observation),
            first=self._first,
            action=spec.encode(torch.from_numpy(self._action)).numpy(),
            reward=step.reward,
            terminated=step.terminated,
        )
        if self.collection.full:
            self._begin_seeing()

    def _begin_seeing(self) -> None:
        pictures = self.collection.columns["picture"]
        self._seeing = VAETraining(
            self.actor.vae,
            pictures.reshape(-1, *pictures.shape[2:]),
            self.config.seeing,
            seed=self._seed,
            device=self._device,
            precision=self._precision,
        )
        if self._seeing_state is not None:
            self._seeing.load_state_dict(self._seeing_state)
        self._seeing_updates = iter(self._seeing)
        count = f"{self._seeing.updates} of {self._seeing.total_updates}"
        logger.info("the autoencoder learns to see: %s updates are made", count)

    def _see(self) -> Figures:
        assert self._seeing is not None
        metrics = next(self._seeing_updates)
        figures: Figures = {f"see/{name}": value for name, value in metrics.items()}
        if self._seeing.updates == self._seeing.total_updates:
            report = self._seeing.evaluate()
            logger.info(
                "on pictures held out: squared error %.2f, %d of %d latent dimensions active",
                report.squared_error,
                report.active_units,
                len(report.kl),
            )
            figures |= {
                "see/held_out_squared_error": report.squared_error,
                "see/held_out_kl": float(report.kl.sum()),
                "see/active_units": report.active_units,
            }
            self._keep(self._encoded())
        return figures

    def _encoded(self) -> Sequences:
        """What was collected, as the autoencoder sees it."""
        columns = self.collection.columns
        pictures = columns["picture"]
        posterior = self.actor.encode(pictures.reshape(-1, *pictures.shape[2:]))
        mean, std = (part.cpu().unflatten(0, pictures.shape[:2]) for part in posterior)
        rest = ("action", "first", "reward", "terminated")
        return Sequences(mean, std, *(torch.from_numpy(columns[name]) for name in rest))

    def _keep(self, sequences: Sequences) -> None:
        """Go on with what is seen; pictures and the autoencoder's optimiser are of no more use."""
        self._sequences = sequences
        self._seeing, self._seeing_state, self._seeing_updates = None, None, iter(())
        self.collection.columns["picture"] = np.zeros((0,), np.uint8)
        self._predicting = MDNRNNTraining(
            self.actor.rnn,
            sequences,
            self.config.predicting,
            seed=self._seed,
            device=self._device,
        )

    def _predict(self) -> Figures:
        assert self._predicting is not None
        training, rows = self._predicting, list[dict[str, float]]()
        while not training.done and len(rows) < _PREDICTING_UPDATES:
            rows.append(training.update())
        figures: Figures = {
            f"predict/{name}": float(np.mean([row[name] for row in rows])) for name in rows[0]
        }
        if training.done:
            report = training.evaluate()
            logger.info(
                "on steps held out: %.1f nats for what is seen next, %.1f if it stays as it is",
                report.latent_nats,
                report.still_nats,
            )
            figures |= {f"predict/held_out_{name}": x for name, x in report._asdict().items()}
            if not self.config.dream:
                self._try_next()
        return figures

    def _evolve(self) -> Figures:
        if not self.trials.finished:
            return {}
        fitness, returns = self.trials.fitness, self.trials.take_spare_returns()
        if self.config.dream:
            returns += fitness.tolist()  # of the mean, where it was due to be measured
            fitness = self._dream()
        self.evolution.tell(fitness)
        self._try_next()
        figures: Figures = {"mean_return": float(np.mean(returns))} if returns else {}
        return figures | {
            "fitness": float(fitness.mean()),
            "fitness_best": float(fitness.max()),
            "deviation": self.evolution.deviation,
        }

    def _try_next(self) -> None:
        evolution, mean = self.evolution, self.evolution.mean
        tried = evolution.candidates
        if self.config.dream:
            due = evolution.generation % self.config.dream_generations == 0
            tried = mean[None] if due else tried[:0]
        self.trials.start(tried, self.config.rollouts, mean)

    def _dream(self) -> Float[np.ndarray, " P"]:
        assert self._predicting is not None
        config, rnn = self.config, self.actor.rnn
        batch = self._predicting.draw(config.rollouts, self._dream_starts, self._dream_noise)
        latents, state = beginnings(rnn, batch)
        return dream_returns(
            rnn,
            self.actor.controller,
            self.evolution.candidates,
            latents,
            state,
            steps=config.dream_length,
            temperature=config.temperature,
            generator=self._dream_noise,
        )
