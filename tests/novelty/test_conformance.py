"""What every intrinsic reward keeps to, whatever it computes; a new one joins MEMBERS."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from ngu import (
    E3B,
    ICM,
    NGU,
    RE3,
    RIDE,
    RND,
    Combined,
    Disagreement,
    NGUConfig,
    NovelD,
    NovelDConfig,
    RE3Config,
    RIDEConfig,
)
from ngu.novelty.testing import CHECKS


def bounded(kind, config):
    """A bonus that holds few states."""

    def make(*arguments: Any, **options: Any):
        return kind(*arguments, config=dataclasses.replace(config, memory_capacity=500), **options)

    return make


def product(*arguments, **options):
    """Two bonuses as one."""
    return Combined([E3B(*arguments, **options), RND(*arguments, **options)])


MEMBERS = {
    "NGU": bounded(NGU, NGUConfig()),
    "NGU, whitened": bounded(NGU, NGUConfig(whiten=True, embedding_size=2)),
    "RND": RND,
    "ICM": ICM,
    "RE3": bounded(RE3, RE3Config()),
    "RIDE": bounded(RIDE, RIDEConfig()),
    "E3B": E3B,
    "NovelD": bounded(NovelD, NovelDConfig()),
    "Disagreement": Disagreement,
    "E3B x RND": product,
}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("member", MEMBERS.values(), ids=MEMBERS)
def test_the_contract(member, check):
    check(member)


class Broken(NGU):
    """Keeps to the contract; each subclass breaks it in one way."""


class DrawsGlobally(Broken):
    def _score(self, obs_tm1, action_tm1, obs_t, where):
        reward, parts = super()._score(obs_tm1, action_tm1, obs_t, where)
        noise = np.random.normal(1, 0.01)  # noqa: NPY002  # this is the fault
        return reward * noise, parts


class PrefersAnEnvironment(Broken):
    def _score(self, obs_tm1, action_tm1, obs_t, where):
        reward, parts = super()._score(obs_tm1, action_tm1, obs_t, where)
        reward[0] *= 1.1
        return reward, parts


class ForgetsItsOptimisers(Broken):
    def set_extra_state(self, state):
        fresh = self._optimisers.state_dict()
        super().set_extra_state(state)
        self._optimisers.load_state_dict(fresh)


class Grows(Broken):
    def _score(self, obs_tm1, action_tm1, obs_t, where):
        self.kept = [*getattr(self, "kept", []), obs_t]
        return super()._score(obs_tm1, action_tm1, obs_t, where)

    def get_extra_state(self):
        return {**super().get_extra_state(), "kept": [*getattr(self, "kept", [])]}


@pytest.mark.parametrize(
    ("broken", "found_by"),
    [
        (DrawsGlobally, {"check_global_random_state", "check_seed"}),
        (PrefersAnEnvironment, {"check_permutation"}),
        (ForgetsItsOptimisers, {"check_resume"}),
        (Grows, {"check_memory_is_bounded"}),
    ],
)
def test_a_broken_bonus_is_found(broken, found_by):
    make = bounded(broken, NGUConfig())
    checks = {check.__name__: check for check in CHECKS}
    found = set()
    for name in found_by:
        try:
            checks[name](make)
        except AssertionError:
            found.add(name)
    assert found == found_by
