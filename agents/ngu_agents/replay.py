"""Prioritised replay of sequences from a ring of steps that stores each frame once.

Sources: Kapturowski et al., "R2D2" (ICLR 2019): overlapping sequences with the recurrent state
of their first step, priorities of sequences; Schaul et al., https://arxiv.org/abs/1511.05952:
drawing in proportion to priorities, importance weights.

Shapes: B sequences, T steps, E environments, H recurrent units.

Slot t of the ring holds, for each environment, the observation x_t, whether it is an episode's
first, the action a_t with its behaviour probability and policy, and what a_t brought: rewards,
termination, truncation. Environments reset by a step of their own (gymnasium's NEXT_STEP mode):
after a step that ends an episode, the next slot holds the true final observation with an action
that is ignored, and the one after it the first observation of a new episode. Any stretch that
starts at a multiple of the period is a sequence.
"""

from pathlib import Path
from typing import Any, Literal

import gymnasium
import numpy as np
from jaxtyping import Bool, Int, Shaped
from numpy.typing import DTypeLike

from ngu.seeding import generator_state, set_generator_state
from ngu_agents.replay_files import SegmentFiles
from ngu_agents.replay_frames import gather_observations
from ngu_agents.replay_layout import ReplayConfig as ReplayConfig
from ngu_agents.replay_layout import ReplayLayout, check_free_memory, ring_periods
from ngu_agents.sequence_batch import SequenceBatch as SequenceBatch
from ngu_agents.sequence_batch import Transitions as Transitions
from ngu_agents.sequence_index import SequenceIndex


class SequenceReplay:
    """The ring with its priorities.

    One sequence starts in every environment at each slot that is a multiple of `config.period`.
    It can be drawn once its last observation is stored, until the first slot that it needs is
    overwritten. New ones have the largest priority seen so far.

    Args:
        config: Settings.
        num_envs: Environments E, which step together.
        observation_space: Of one environment; observations are stored in its type.
        recurrent_size: H; 0 stores no recurrent state.
        generator: Draws the sequences; owned by the replay from here on.
        action_shape: Of one environment's action.
        action_dtype: Type in which actions are stored.
        stack: Frames stacked along an observation's first axis, newest last.
        stack_padding: What a stack holds before an episode's first frame: that frame again
            (gymnasium's wrapper), or zeros (ale-py's vector environment).

    Raises:
        TypeError: If the observation space has no shape and type, as Dict spaces.
        ValueError: If the limits leave too little room, or more than the memory that is free.
    """

    def __init__(
        self,
        config: ReplayConfig,
        *,
        num_envs: int,
        observation_space: gymnasium.Space[Any],
        recurrent_size: int,
        generator: np.random.Generator,
        action_shape: tuple[int, ...] = (),
        action_dtype: DTypeLike = np.int64,
        stack: int = 1,
        stack_padding: Literal["repeat", "zero"] = "repeat",
    ) -> None:
        if observation_space.shape is None or observation_space.dtype is None:
            raise TypeError(
                f"observation_space must have a shape and a type, got {observation_space}"
            )
        self.config = config
        self.layout = ReplayLayout(
            num_envs=num_envs,
            observation_shape=observation_space.shape,
            observation_dtype=observation_space.dtype,
            action_shape=action_shape,
            action_dtype=action_dtype,
            recurrent_size=recurrent_size,
            stack=stack,
            stack_padding=stack_padding,
        )
        check_free_memory(config, self.layout)
        self._generator = generator
        self._periods = ring_periods(config, self.layout)
        self._length = self._periods * config.period
        # Uninitialised, so that the system commits the memory only as the ring fills.
        self._columns = {
            name: np.empty((self._length, num_envs, *shape), dtype)
            for name, (shape, dtype) in self.layout.columns().items()
        }
        self._recurrent = np.empty((self._periods, num_envs, 2, recurrent_size), np.float32)
        self._files = SegmentFiles(self._columns, self._recurrent, config.period)
        self._clear()

    @property
    def slots_written(self) -> int:
        """Slots stored since the beginning, overwritten ones included."""
        return self._slots_written

    @property
    def num_sequences(self) -> int:
        """Sequences that can be drawn now."""
        return len(self._index)

    @property
    def ready(self) -> bool:
        """Whether `min_sequences` have been collected."""
        return self.num_sequences >= self.config.min_sequences

    @property
    def capacity_steps(self) -> int:
        """Steps that the ring holds when it is full, all environments together."""
        return self._length * self.layout.num_envs

    @property
    def nbytes(self) -> int:
        """Bytes of the full ring."""
        return self._recurrent.nbytes + sum(column.nbytes for column in self._columns.values())

    @property
    def fill(self) -> float:
        """Share of the ring that is in use, in [0, 1]."""
        return min(1.0, self._slots_written / self._length)

    @property
    def filled_bytes(self) -> int:
        """Bytes of the ring that are in use."""
        return round(self.fill * self.nbytes)

    @property
    def wants_recurrent_state(self) -> bool:
        """Whether the next slot starts sequences, whose recurrent state `add` then needs."""
        starts = self._slots_written % self.config.period == 0
        return self.layout.recurrent_size > 0 and starts

    def add(
        self,
        *,
        observation: np.ndarray,
        first: np.ndarray,
        action: np.ndarray,
        behaviour_probability: np.ndarray,
        reward_ext: np.ndarray,
        reward_int: np.ndarray,
        terminated: np.ndarray,
        truncated: np.ndarray,
        policy: np.ndarray,
        recurrent_state: np.ndarray | None = None,
    ) -> None:
        """Stores one step of all environments.

        Args:
            observation: x_t, which the actions were taken on, stacks included, [E, ...].
            first: Where x_t is the first observation of an episode, [E].
            action: a_t as given to the environments (ignored there on a final observation),
                [E, ...].
            behaviour_probability: Probability with which a_t was taken, [E].
            reward_ext: Extrinsic reward that a_t brought, [E].
            reward_int: Intrinsic reward that a_t brought, [E].
            terminated: Where a_t ended the episode for good, [E].
            truncated: Where a_t was the last before a limit, [E].
            policy: Index of the policy that took a_t, [E].
            recurrent_state: h and c before x_t, [2, E, H]; needed when `wants_recurrent_state`,
                else not looked at.

        Raises:
            ValueError: If a shape is wrong, a number is not finite, a needed recurrent state is
                missing, or no first observation follows an episode's end. Nothing is stored then.
            TypeError: If a type cannot be stored without loss. Nothing is stored then.
        """
        slot = {
            "observation": observation,
            "first": first,
            "action": action,
            "behaviour_probability": behaviour_probability,
            "reward_ext": reward_ext,
            "reward_int": reward_int,
            "terminated": terminated,
            "truncated": truncated,
            "policy": policy,
        }
        self.layout.check_slot(slot)
        if self.wants_recurrent_state:
            self.layout.check_recurrent_state(recurrent_state)
        self._check_first(first)
        t = self._slots_written
        self._retire(t - self._length)
        row = t % self._length
        if self.layout.stack > 1:
            slot["observation"] = observation[:, -1]
        for name, value in slot.items():
            self._columns[name][row] = value
        if recurrent_state is not None and self.wants_recurrent_state:
            self._recurrent[row // self.config.period] = recurrent_state.swapaxes(0, 1)
        self._slots_written = t + 1

        if self._index.end * self.config.period + self.config.unroll_length == t:
            self._index.append()

    def sample(self, batch_size: int) -> SequenceBatch:
        """Draws sequences in proportion to priority^priority_exponent, with replacement.

        Nothing may be added meanwhile.

        Raises:
            ValueError: If `batch_size` is below 1 or there is no sequence yet.
        """
        self._check_sequences()
        numbers, envs, ids, importance_weight = self._index.draw(batch_size, self._generator)

        # From the slot before x_0 to that of x_T.
        offsets = np.arange(-1, self.config.unroll_length + 1)[:, None]
        slots = numbers * self.config.period + offsets
        window = slots % self._length
        column = {
            name: ring[window, envs]
            for name, ring in self._columns.items()
            if name != "observation"
        }
        first = column["first"][1:]
        previous = {
            name: _zero_where(first, column[name][:-1])
            for name in ("action", "reward_ext", "reward_int")
        }
        step = {name: values[1:-1] for name, values in column.items()}
        return SequenceBatch(
            observation=self._observations(slots[1:], envs),
            first=first,
            action_tm1=previous["action"],
            reward_ext_tm1=previous["reward_ext"],
            reward_int_tm1=previous["reward_int"],
            policy=column["policy"][1:],
            action=step["action"],
            behaviour_probability=step["behaviour_probability"],
            reward_ext=step["reward_ext"],
            reward_int=step["reward_int"],
            terminated=step["terminated"],
            truncated=step["truncated"],
            # What leads to a first observation is a reset, or the step at which a program was
            # stopped and restarted; of the latter only a termination is known.
            valid=~first[1:] | step["terminated"],
            recurrent_state=self._recurrent[numbers % self._periods, envs].swapaxes(0, 1).copy(),
            ids=ids,
            importance_weight=importance_weight,
            demonstrated=np.zeros(batch_size, dtype=bool),
        )

    def sample_transitions(self, count: int) -> Transitions:
        """Draws single steps, each stored one with the same probability, with replacement.

        Nothing may be added meanwhile.

        Raises:
            ValueError: If `count` is below 1 or there is no sequence yet.
        """
        if count < 1:
            raise ValueError(f"count must be at least 1, got {count}")
        self._check_sequences()
        # The slots before the oldest step's hold the older frames of its stack.
        overwritten = max(0, self._slots_written - self._length)
        oldest = overwritten and overwritten + self.layout.stack - 1
        newest = self._slots_written - 1
        first = self._columns["first"]
        slots, envs = (np.zeros(count, np.int64) for _ in range(2))
        wanted = np.ones(count, np.bool_)
        while wanted.any():
            slots[wanted] = self._generator.integers(oldest, newest, wanted.sum())
            envs[wanted] = self._generator.integers(0, self.layout.num_envs, wanted.sum())
            wanted = first[(slots + 1) % self._length, envs]
        before, after = self._observations(np.stack([slots, slots + 1]), envs)
        return Transitions(before, self._columns["action"][slots % self._length, envs], after)

    def update_priorities(self, ids: np.ndarray, priorities: np.ndarray) -> None:
        """Sets the priorities [B] of sequences by their ids [B]; overwritten ones are skipped.

        Raises:
            ValueError: If a priority is negative or not finite, the shapes differ, or an id was
                never handed out. Nothing is changed then.
        """
        self._index.update(ids, priorities)

    def save(self, directory: Path) -> dict[str, Any]:
        """Writes what `directory` does not hold yet; see `SegmentFiles`.

        Returns:
            The rest of the state, a few MB at most, for `load`.

        Raises:
            OSError: If a file cannot be written; those written before stay as they are.
        """
        return {
            "signature": self.layout.signature(self.config, self._length),
            "slots_written": self._slots_written,
            "index": self._index.state_dict(),
            "generator": generator_state(self._generator),
            "files": self._files.save(directory, self._slots_written),
        }

    def load(self, directory: Path, state: dict[str, Any]) -> None:
        """Takes back what `save` wrote and returned: the same sequences are drawn afterwards.

        Raises:
            ValueError: If the state is that of a replay of other shapes or settings; this one
                is left as it is.
            DamagedCheckpoint: If a file is missing or damaged; this replay is empty then.
        """
        for name, value in self.layout.signature(self.config, self._length).items():
            saved = state["signature"].get(name)
            if saved != value:
                raise ValueError(f"the saved replay has {name} {saved}, this one {value}")
        self._clear()
        self._files.load(directory, state["files"], state["slots_written"])
        self._index.load_state_dict(state["index"])
        set_generator_state(self._generator, state["generator"])
        self._slots_written = state["slots_written"]

    def _observations(
        self, slots: Int[np.ndarray, "T B"], envs: Int[np.ndarray, " B"]
    ) -> Shaped[np.ndarray, "..."]:
        return gather_observations(
            self._columns["observation"],
            self._columns["first"],
            slots,
            envs,
            stack=self.layout.stack,
            pad_with_zeros=self.layout.stack_padding == "zero",
        )

    def _clear(self) -> None:
        self._slots_written = 0
        self._index = SequenceIndex(
            self._periods,
            self.layout.num_envs,
            priority_exponent=self.config.priority_exponent,
            importance_exponent=self.config.importance_exponent,
        )

    def _retire(self, overwritten: int) -> None:
        """Takes out the starts that need slot `overwritten`."""
        while len(self._index):
            needed = self._index.oldest * self.config.period - self.layout.history
            if max(0, needed) > overwritten:
                return
            self._index.drop_oldest()

    def _check_sequences(self) -> None:
        if self.num_sequences == 0:
            raise ValueError(
                "there is no complete sequence to sample yet: the first needs "
                f"{self.config.unroll_length + 1} steps of each environment, "
                f"{self._slots_written} are stored"
            )

    def _check_first(self, first: np.ndarray) -> None:
        t = self._slots_written
        if t == 0 and not first.all():
            raise ValueError(f"first must be all True in the first slot, got {first}")
        if t >= 2:
            ring, ended, before = self._columns, (t - 2) % self._length, (t - 1) % self._length
            done = ring["terminated"][ended] | ring["truncated"][ended]
            self.layout.check_reset(done, ring["first"][before] | first)


def _zero_where(
    mask: Bool[np.ndarray, "T B"], values: Shaped[np.ndarray, " T B *shape"]
) -> Shaped[np.ndarray, " T B *shape"]:
    values = values.copy()
    values[mask] = 0
    return values
