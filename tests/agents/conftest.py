"""Dreamers, for the tests of the agent and of its learning."""

import pytest

from ngu_agents.dreamer import DreamerAgent
from tests.small_dreamers import ShortCorridor, make_agent, make_envs, run, start


@pytest.fixture
def make_dreamer():
    """Makes agents that have collected steps and not learned; closes them."""
    agents = []

    def make(bonus="none", *, steps=60, kind=ShortCorridor, **settings) -> DreamerAgent:
        envs = make_envs(kind=kind)
        agent = make_agent(envs, bonus, **settings)
        agents.append(agent)
        learn, agent.learn = agent.learn, dict
        run(start(agent, envs), steps)
        agent.learn = learn
        return agent

    yield make
    for agent in agents:
        agent.close()
