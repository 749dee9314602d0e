"""The settings of the World Models agent; the defaults are those of the paper for CarRacing."""

from __future__ import annotations

from dataclasses import dataclass, field

from ngu.world.convolutions import SMALLEST_SIDE
from ngu.world.mdn_rnn import MDNRNNConfig
from ngu.world.mdn_rnn_training import MDNRNNTrainingConfig
from ngu.world.vae import VAEConfig
from ngu.world.vae_training import VAETrainingConfig


@dataclass(frozen=True)
class WorldModelsConfig:
    """Settings of Ha and Schmidhuber's agent (arXiv 1803.10122, appendix A)."""

    collected: int = 10_000
    """Pictures that random actions collect at first (World Models: those of 10,000 episodes)."""
    size: int = 64
    """Height and width that images are brought to; grids stay as they are."""
    vae: VAEConfig = field(default_factory=VAEConfig)
    """The autoencoder, which sees."""
    seeing: VAETrainingConfig = field(default_factory=VAETrainingConfig)
    """Its training."""
    rnn: MDNRNNConfig = field(default_factory=MDNRNNConfig)
    """The recurrent network, which predicts."""
    predicting: MDNRNNTrainingConfig = field(default_factory=MDNRNNTrainingConfig)
    """Its training."""
    memory: bool = True
    """Whether the controller sees what the recurrent network remembers beside what is seen now."""
    population: int = 64
    """Controllers in a generation of the evolution."""
    rollouts: int = 16
    """Episodes, real or dreamt, whose mean return is a controller's fitness."""
    deviation: float = 0.1
    """Standard deviation of the first generation's weights."""
    dream: bool = False
    """Whether the evolution goes on in dreams; the real environments then only measure its mean."""
    dream_generations: int = 20
    """Generations dreamt between two measurements."""
    dream_length: int = 300
    """Steps of a dreamt episode, if it does not end before."""
    temperature: float = 1.0
    """How uncertain dreams are: above 1 more so than what was learned."""

    def __post_init__(self) -> None:
        for name in ("collected", "rollouts", "dream_generations", "dream_length"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.size < SMALLEST_SIDE:
            raise ValueError(f"size must be at least {SMALLEST_SIDE}, got {self.size}")
        if self.population < 4:
            raise ValueError(f"population must be at least 4, got {self.population}")
        for name in ("deviation", "temperature"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
