"""What one slot of the replay holds, how large a ring the limits allow, and whether it fits.

A slot is one step of all environments at once. Nothing here allocates.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import psutil
from numpy.typing import DTypeLike

GIGABYTE = 10**9
# Columns that take any float type; environments often pay in float64.
_ROUNDED = ("behaviour_probability", "reward_ext", "reward_int")


@dataclass(frozen=True)
class ReplayConfig:
    """Settings of the sequence replay; the defaults are NGU's, within 3 GB."""

    capacity_steps: int | None = 5_000_000
    """Steps kept, all environments together; none for no such limit."""
    capacity_gb: float | None = 3.0
    """Memory for the replay in GB (10^9 bytes); the smaller of both limits holds."""
    trace_length: int = 80
    """Steps of a sequence that are trained on."""
    period: int = 40
    """Steps from the start of one sequence to the start of the next."""
    burn_in: int = 0
    """Steps before those, which only bring the recurrent state up to date."""
    priority_exponent: float = 0.9
    """Power of the priorities when drawing; 0 draws uniformly."""
    importance_exponent: float = 0.0
    """Power of the importance weights; 0 leaves all at 1, and 1 corrects the drawing in full."""
    min_sequences: int = 6_250
    """Sequences to collect before learning starts."""

    def __post_init__(self) -> None:
        """Checks the ranges."""
        if self.capacity_steps is None and self.capacity_gb is None:
            raise ValueError("one of capacity_steps and capacity_gb must be given, both are none")
        if self.capacity_gb is not None and not self.capacity_gb > 0:
            raise ValueError(f"capacity_gb must be positive, got {self.capacity_gb}")
        at_least = {"trace_length": 1, "period": 1, "burn_in": 0, "min_sequences": 1}
        if self.capacity_steps is not None:
            at_least["capacity_steps"] = 1
        for name, least in at_least.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        for name in ("priority_exponent", "importance_exponent"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in [0, 1], got {getattr(self, name)}")

    @property
    def unroll_length(self) -> int:
        """Steps of a sequence, those of the burn-in included."""
        return self.burn_in + self.trace_length


@dataclass(frozen=True)
class ReplayLayout:
    """Shapes and types of what the replay stores."""

    num_envs: int
    """Environments, which step together."""
    observation_shape: tuple[int, ...]
    """Shape of one environment's observation, stack included."""
    observation_dtype: DTypeLike
    """Type of the observations, which are stored as they come."""
    action_shape: tuple[int, ...]
    """Shape of one environment's action; () for a discrete one."""
    action_dtype: DTypeLike
    """Type of the actions."""
    recurrent_size: int
    """H: units of the recurrent network; 0 stores no recurrent state."""
    stack: int = 1
    """Frames stacked along an observation's first axis, newest last; each is stored once."""
    stack_padding: Literal["repeat", "zero"] = "repeat"
    """What a stack holds before the episode's first frame: that frame again, or zeros."""

    def __post_init__(self) -> None:
        """Checks that the parts agree."""
        if self.num_envs < 1:
            raise ValueError(f"num_envs must be at least 1, got {self.num_envs}")
        if self.recurrent_size < 0:
            raise ValueError(f"recurrent_size must be at least 0, got {self.recurrent_size}")
        if self.stack < 1:
            raise ValueError(f"stack must be at least 1, got {self.stack}")
        if self.stack > 1 and self.observation_shape[:1] != (self.stack,):
            raise ValueError(
                f"observations with a stack of {self.stack} must have it as their first axis, "
                f"got observation_shape {self.observation_shape}"
            )
        if self.stack_padding not in ("repeat", "zero"):
            raise ValueError(f"stack_padding must be repeat or zero, got {self.stack_padding!r}")

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """Shape of what is stored of an observation."""
        return self.observation_shape[1:] if self.stack > 1 else self.observation_shape

    @property
    def history(self) -> int:
        """Slots before a sequence's first that it needs: its previous action, older frames."""
        return max(1, self.stack - 1)

    def columns(self) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
        """Name, shape and type of all that is stored of one environment at each step."""
        return {
            "observation": (self.frame_shape, np.dtype(self.observation_dtype)),
            "first": ((), np.dtype(np.bool_)),
            "action": (self.action_shape, np.dtype(self.action_dtype)),
            "behaviour_probability": ((), np.dtype(np.float32)),
            "reward_ext": ((), np.dtype(np.float32)),
            "reward_int": ((), np.dtype(np.float32)),
            "terminated": ((), np.dtype(np.bool_)),
            "truncated": ((), np.dtype(np.bool_)),
            "policy": ((), np.dtype(np.int16)),
        }

    def check_slot(self, slot: Mapping[str, np.ndarray]) -> None:
        """Checks shapes, types and finiteness of one slot's values, by name of their column.

        Raises:
            ValueError: If a shape is wrong or a number is not finite.
            TypeError: If values cannot be stored in the column's type without loss.
        """
        for name, (shape, dtype) in self.columns().items():
            value = slot[name]
            if name == "observation":
                shape = self.observation_shape
            expected = (self.num_envs, *shape)
            if value.shape != expected:
                raise ValueError(f"{name} must have shape {expected}, got {value.shape}")
            if name in _ROUNDED:
                if not np.isfinite(value).all():
                    raise ValueError(f"{name} must be finite, got {value}")
            elif name != "policy" and not np.can_cast(value.dtype, dtype):
                raise TypeError(f"{name} must be of type {dtype}, got {value.dtype}")

    def check_recurrent_state(self, recurrent_state: np.ndarray | None) -> None:
        """Checks a recurrent state that is needed.

        Raises:
            ValueError: If it is missing or not [2, E, H].
        """
        expected = (2, self.num_envs, self.recurrent_size)
        if recurrent_state is None:
            raise ValueError(
                f"recurrent_state of shape {expected} must be given in a slot where sequences "
                "start (wants_recurrent_state), got None"
            )
        if recurrent_state.shape != expected:
            raise ValueError(
                f"recurrent_state must have shape {expected}, got {recurrent_state.shape}"
            )

    @staticmethod
    def check_reset(done: np.ndarray, first_since: np.ndarray) -> None:
        """Finds environments that do not reset by a step of their own.

        Args:
            done: Where an episode ended at the step before the last, [E].
            first_since: Where one of the two observations since is the first of an episode, [E].

        Raises:
            ValueError: If an episode that ended is not followed by a new one.
        """
        missed = done & ~first_since
        if missed.any():
            raise ValueError(
                f"environments {np.flatnonzero(missed).tolist()} ended an episode two steps ago, "
                "but first is False there: the replay needs environments that reset by a step of "
                "their own (AutoresetMode.NEXT_STEP)"
            )

    def signature(self, config: ReplayConfig, length: int) -> dict[str, int | float | str]:
        """All that two replays must have in common for one to load what the other saved.

        Args:
            config: Settings of the replay.
            length: Slots of its ring.
        """
        columns = {
            name: f"{dtype.name} {list(shape)}" for name, (shape, dtype) in self.columns().items()
        }
        return {
            "num_envs": self.num_envs,
            "recurrent_size": self.recurrent_size,
            "stack": self.stack,
            "stack_padding": self.stack_padding,
            "period": config.period,
            "unroll_length": config.unroll_length,
            "priority_exponent": config.priority_exponent,
            "capacity_steps": length * self.num_envs,
            **columns,
        }

    def slot_nbytes(self) -> int:
        """Bytes of one slot, all environments together, recurrent states aside."""
        sizes = (
            int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
            for shape, dtype in self.columns().values()
        )
        return self.num_envs * sum(sizes)

    def period_nbytes(self, period: int) -> int:
        """Bytes of `period` slots with the recurrent states of the sequences that start there."""
        return period * self.slot_nbytes() + self.num_envs * 2 * self.recurrent_size * 4


def ring_periods(config: ReplayConfig, layout: ReplayLayout) -> int:
    """The largest whole number of periods that both limits allow.

    Raises:
        ValueError: If not even one sequence, or fewer than `min_sequences`, would always fit.
    """
    limits = []
    if config.capacity_steps is not None:
        limits.append(config.capacity_steps // (layout.num_envs * config.period))
    if config.capacity_gb is not None:
        limits.append(int(config.capacity_gb * GIGABYTE // layout.period_nbytes(config.period)))
    periods = min(limits)
    # Wherever the ring stands, all but these hold a start with all that belongs to it.
    incomplete = -(-(layout.history + config.unroll_length) // config.period)
    starts = max(0, periods - incomplete)
    if starts * layout.num_envs < config.min_sequences:
        wanted = -(-config.min_sequences // layout.num_envs) + incomplete
        steps = wanted * config.period * layout.num_envs
        gigabytes = wanted * layout.period_nbytes(config.period) / GIGABYTE
        raise ValueError(
            f"the replay's limits (capacity_steps {config.capacity_steps}, capacity_gb "
            f"{config.capacity_gb}) leave room for {starts * layout.num_envs} sequences, fewer "
            f"than min_sequences {config.min_sequences}: lower that, or allow {steps} steps, "
            f"which take {gigabytes:.3g} GB"
        )
    return periods


def nbytes_for(config: ReplayConfig, layout: ReplayLayout) -> int:
    """Bytes that a full replay takes.

    Raises:
        ValueError: As `ring_periods`.
    """
    return ring_periods(config, layout) * layout.period_nbytes(config.period)


def check_free_memory(config: ReplayConfig, layout: ReplayLayout) -> None:
    """Compares what a full replay takes with the memory that is free now.

    Raises:
        ValueError: If it does not fit.
    """
    needed, free = nbytes_for(config, layout), psutil.virtual_memory().available
    if needed > free:
        raise ValueError(
            f"a full replay takes {needed / GIGABYTE:.3g} GB, but only {free / GIGABYTE:.3g} GB "
            f"of memory are free: lower capacity_gb (now {config.capacity_gb}) or "
            f"capacity_steps (now {config.capacity_steps})"
        )
