"""The settings of a run: one frozen dataclass, with a part for each thing that it is made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from ngu.bonuses import BONUSES
from ngu.novelty.embedded import EmbeddingReward
from ngu.novelty.ngu import NGUConfig
from ngu.sentences import SettingsError as SettingsError
from ngu_agents.archive.config import ArchiveConfig, ArchiveNGUConfig
from ngu_agents.config import RecurrentReplayConfig
from ngu_agents.dreamer_config import DreamerConfig, LatentDisagreementConfig
from ngu_agents.ppo_config import PPOConfig
from ngu_agents.replay_layout import ReplayConfig
from ngu_agents.world_models.config import WorldModelsConfig
from ngu_envs import config_type

CHANGEABLE_ON_RESUME = frozenset({"frames", "device", "checkpoint", "log", "states"})
"""Settings that may differ when a run is resumed: all that do not shape its state."""

_OF_AGENT: dict[str, dict[str, type[Any]]] = {
    "ngu": {"learning": RecurrentReplayConfig, "replay": ReplayConfig},
    "ppo": {"learning": PPOConfig},
    "dreamer": {"learning": DreamerConfig, "replay": ReplayConfig},
    "archive": {"learning": ArchiveConfig},
    "archive-ngu": {"learning": ArchiveNGUConfig, "replay": ReplayConfig},
    "random": {},
    "world-models": {"learning": WorldModelsConfig},
}
UNPAID_AGENTS = frozenset({"archive", "random", "world-models"})
"""Agents that no intrinsic reward is paid to."""
ARCHIVE_AGENTS = frozenset({"archive", "archive-ngu"})
"""Agents that explore from the cells of an archive."""


@dataclass(frozen=True)
class CheckpointConfig:
    """When the state is saved, and how much of it."""

    seconds: float = 300.0
    """Time between checkpoints; what a crash can cost at most."""
    keep: int = 3
    """How many of the last checkpoints stay on disk."""
    replay: bool = True
    """Whether the replay is saved and loaded; without it a resumed run collects a new one."""

    def __post_init__(self) -> None:
        if not self.seconds > 0:
            raise ValueError(f"seconds must be above 0, got {self.seconds}")
        if self.keep < 1:
            raise ValueError(f"keep must be at least 1, got {self.keep}")


@dataclass(frozen=True)
class LogConfig:
    """How often figures are written."""

    steps: int = 10_000
    """Environment steps between log points; counted in steps so that runs repeat exactly."""

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")


@dataclass(frozen=True)
class StatesConfig:
    """What states are recorded while training, as ``ngu.record`` does it of a trained run."""

    environments: int = 0
    """In so many environments, from the first on, every state is recorded; 0 records none."""

    def __post_init__(self) -> None:
        if self.environments < 0:
            raise ValueError(f"environments must be at least 0, got {self.environments}")


@dataclass(frozen=True)
class TrainSettings:
    """What to train, where, and for how long."""

    env: str = "MontezumaRevenge"
    """Environment: an Atari game in CamelCase, crafter, disco-maze, deep-sea, noisy-tv or a
    gymnasium id."""
    agent: Literal["ngu", "ppo", "dreamer", "archive", "archive-ngu", "random", "world-models"] = (
        "ngu"
    )
    """Who acts: Never Give Up's recurrent replay agent, PPO with two values, DreamerV3's agent that
    learns in imagination, an archive that goes back to saved states and explores from there by
    random actions or by Never Give Up's agent, random actions alone, or World Models' evolved
    controller of what it sees and predicts."""
    bonus: Literal["ngu", "rnd", "icm", "re3", "ride", "e3b", "noveld", "disagreement", "none"] = (
        "ngu"
    )
    """Which intrinsic reward is paid."""
    frames: int = 1_000_000
    """Emulator frames to train for (environment steps times the action repeat)."""
    num_envs: int = 32
    """Environments that step together."""
    seed: int = 0
    """Seed of everything that is drawn."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where networks run; auto takes CUDA where there is one."""
    precision: Literal["auto", "bfloat16", "float32"] = "auto"
    """Float type of the heavy layers; auto takes bfloat16 where the device multiplies it."""
    run_dir: str | None = None
    """Folder of the run, which must not exist yet; by default a new one in runs/."""
    options: Any = None
    """Options of the environments: the dataclass of their kind, or a dict for gymnasium's ids."""
    learning: Any = field(default_factory=RecurrentReplayConfig)
    """The agent: the dataclass of its kind; None where nothing learns."""
    replay: Any = field(default_factory=ReplayConfig)
    """Its memory of what happened: ReplayConfig, or None where nothing is replayed."""
    novelty: Any = field(default_factory=NGUConfig)
    """The intrinsic reward: the dataclass of its kind, or None where none is paid."""
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    """Checkpoints."""
    log: LogConfig = field(default_factory=LogConfig)
    """Logging."""
    states: StatesConfig = field(default_factory=StatesConfig)
    """States that are recorded on the way, for ngu.analyze."""

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise ValueError(f"frames must be at least 1, got {self.frames}")
        if self.num_envs < 1:
            raise ValueError(f"num_envs must be at least 1, got {self.num_envs}")
        if self.seed < 0:
            raise ValueError(f"seed must be at least 0, got {self.seed}")
        if self.states.environments > self.num_envs:
            raise ValueError(
                f"states.environments must be at most num_envs, {self.num_envs}, got "
                f"{self.states.environments}"
            )
        if self.states.environments and not embeds_states(self.agent, self.bonus):
            raise ValueError(
                f"states.environments must be 0: the agent {self.agent} with the bonus "
                f"{self.bonus} embeds no states"
            )


def part_types(env: str, agent: str, bonus: str) -> dict[str, type[Any] | None]:
    """Types of the parts that depend on what the run is made of, None where a part has no settings.

    An unknown agent or bonus has those of the default one, for the parser to say what is wrong.

    Raises:
        ValueError: No environment has that name.
        ImportError: It belongs to a package that is not installed.
    """
    of_agent = _OF_AGENT.get(agent, _OF_AGENT[TrainSettings.agent])
    novelty: type[Any] | None = None
    if disagrees_in_latents(agent, bonus):
        novelty = LatentDisagreementConfig
    elif bonus != "none" and agent not in UNPAID_AGENTS:
        novelty = BONUSES.get(bonus, BONUSES[TrainSettings.bonus]).config
    return {
        "options": config_type(env),
        "learning": of_agent.get("learning"),
        "replay": of_agent.get("replay"),
        "novelty": novelty,
    }


def disagrees_in_latents(agent: str, bonus: str) -> bool:
    """Whether disagreement is about the latents of a world model, and no bonus on observations."""
    return agent == "dreamer" and bonus == "disagreement"


def embeds_states(agent: str, bonus: str) -> bool:
    """Whether the intrinsic reward of what is experienced is measured in an embedding."""
    if agent in UNPAID_AGENTS or bonus == "none" or disagrees_in_latents(agent, bonus):
        return False
    return issubclass(BONUSES[bonus].kind, EmbeddingReward)


def remembers_latents(settings: TrainSettings) -> bool:
    """Whether novelty is measured in the states of a dreamer's world model."""
    return (
        settings.agent == "dreamer" and settings.bonus == "ngu" and settings.learning.latent_memory
    )


def resolve_device(device: str) -> torch.device:
    """The device that ``auto``, ``cpu`` or ``cuda`` stands for on this machine.

    Raises:
        SettingsError: CUDA was asked for and there is none.
    """
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise SettingsError("device is cuda, but torch finds no CUDA device; use --device cpu")
    return torch.device("cuda" if available and device != "cpu" else "cpu")
