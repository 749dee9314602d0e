"""Exploration by novelty: Never Give Up's intrinsic reward and its parts, for any agent."""

from importlib.metadata import version as _version

from ngu.novelty.base import IntrinsicReward as IntrinsicReward
from ngu.novelty.distillation import RandomNetworkDistillation as RandomNetworkDistillation
from ngu.novelty.embedding import InverseDynamics as InverseDynamics
from ngu.novelty.kernel import episodic_novelty as episodic_novelty
from ngu.novelty.kernel import lifelong_modulator as lifelong_modulator
from ngu.novelty.memory import EpisodicMemory as EpisodicMemory
from ngu.novelty.ngu import NGU as NGU
from ngu.novelty.ngu import NGUConfig as NGUConfig

__version__ = _version("never-give-up")
