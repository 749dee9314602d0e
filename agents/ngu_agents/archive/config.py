"""Settings of the archive and of who explores from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ngu_agents.config import RecurrentReplayConfig


@dataclass(frozen=True)
class ReturningConfig:
    """What a cell is, which one is gone back to, and for how long it is explored from."""

    cells: Literal["controlled", "downscaled", "latent"] = "controlled"
    """Which states are taken for the same: those of equal small pictures in which the agent is at
    the same place (small pictures alone for grids and vectors), of equal small pictures, or of near
    embeddings by inverse dynamics."""
    cell_width: int = 11
    """Columns that a picture is averaged to."""
    cell_height: int = 8
    """Rows that a picture is averaged to."""
    cell_levels: int = 12
    """Shades of grey that an average is rounded down to, or levels of each number of a vector."""
    trial_steps: int = 4
    """Steps from one state whose agent's place is tried out to the next."""
    place_areas: int = 16
    """Rows and columns of areas that a place lies in."""
    novelty_power: float = 4.0
    """Power of a cell's novelty when cells to go back to are drawn; 0 draws them by rarity alone.
    Above 1 it makes up for known places that have many cells."""
    nearness: Literal["pictures", "steps"] = "pictures"
    """Which visits a novelty takes for near: those of like pictures (or what else a cell's states
    have in common, in controlled cells the agent's place), or those that one exploration leads to,
    which a small network learns."""
    latent_growth: float = 7.0
    """Latent cells that a thousand steps are to add; the radius of a cell follows."""
    latent_regroup_steps: int = 20_000
    """Steps after which latent cells are grouped anew by the newest embedding; then as many more,
    then twice as many, and so on."""
    explore_steps: int = 100
    """Steps after which the agent goes back to a cell; a lost life or an episode's end comes
    first."""
    follow_probability: float = 0.0
    """Chance that in controlled cells an exploration first follows a known way on from its cell;
    for agents that learn from what they do it must be 0."""
    memory_gb: float = 2.0
    """Snapshots that are held in memory; those beyond lie in a temporary file."""
    spill_folder: str | None = None
    """Where that file is; by default in the system's folder for temporary files."""

    def __post_init__(self) -> None:
        if self.cells not in ("controlled", "downscaled", "latent"):
            raise ValueError(
                f"cells must be 'controlled', 'downscaled' or 'latent', got {self.cells!r}"
            )
        if not 0 <= self.follow_probability <= 1:
            raise ValueError(
                f"follow_probability must lie in [0, 1], got {self.follow_probability}"
            )
        if not 0 <= self.novelty_power < float("inf"):
            raise ValueError(f"novelty_power must be at least 0, got {self.novelty_power}")
        if self.nearness not in ("pictures", "steps"):
            raise ValueError(f"nearness must be 'pictures' or 'steps', got {self.nearness!r}")
        if self.nearness == "steps" and not self.novelty_power:
            raise ValueError(
                "nearness 'steps' measures novelty, and needs a novelty_power above 0, got 0"
            )
        if self.nearness == "steps" and self.cells == "controlled":
            raise ValueError(
                "nearness 'steps' needs cells 'downscaled' or 'latent', got 'controlled', which "
                "are near as the agent's places are"
            )
        if not self.latent_growth > 0:
            raise ValueError(f"latent_growth must be above 0, got {self.latent_growth}")
        for name in (
            "trial_steps",
            "latent_regroup_steps",
            "cell_width",
            "cell_height",
            "explore_steps",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 1 <= self.place_areas <= 256:
            raise ValueError(f"place_areas must lie in [1, 256], got {self.place_areas}")
        if not 2 <= self.cell_levels <= 256:
            raise ValueError(f"cell_levels must lie in [2, 256], got {self.cell_levels}")
        if not self.memory_gb > 0:
            raise ValueError(f"memory_gb must be above 0, got {self.memory_gb}")


@dataclass(frozen=True)
class ArchiveConfig(ReturningConfig):
    """Exploration by random actions, each taken many times in a row, and by known ways."""

    follow_probability: float = 0.5
    """Chance that in controlled cells an exploration first follows a known way on from its cell."""
    repeat_probability: float = 0.95
    """Chance that the last action is taken once more; another one is drawn uniformly."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.repeat_probability < 1:
            raise ValueError(
                f"repeat_probability must lie in [0, 1), got {self.repeat_probability}"
            )


@dataclass(frozen=True)
class ArchiveNGUConfig(RecurrentReplayConfig):
    """Exploration by Never Give Up's agent, to which each is an episode."""

    archive: ReturningConfig = field(default_factory=ReturningConfig)
    """The archive that it explores for."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.archive.follow_probability:
            raise ValueError(
                "archive-ngu learns from its own actions: archive.follow_probability must be 0, "
                f"got {self.archive.follow_probability}"
            )
