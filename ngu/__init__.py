"""Exploration by novelty: Never Give Up's intrinsic reward and its parts, for any agent."""

from importlib.metadata import version as _version

from ngu.novelty.base import IntrinsicReward as IntrinsicReward
from ngu.novelty.combined import Combined as Combined
from ngu.novelty.disagreement import Disagreement as Disagreement
from ngu.novelty.disagreement import DisagreementConfig as DisagreementConfig
from ngu.novelty.distillation import RandomNetworkDistillation as RandomNetworkDistillation
from ngu.novelty.e3b import E3B as E3B
from ngu.novelty.e3b import E3BConfig as E3BConfig
from ngu.novelty.embedding import InverseDynamics as InverseDynamics
from ngu.novelty.explanation import Explanation as Explanation
from ngu.novelty.icm import ICM as ICM
from ngu.novelty.icm import ICMConfig as ICMConfig
from ngu.novelty.kernel import episodic_novelty as episodic_novelty
from ngu.novelty.kernel import lifelong_modulator as lifelong_modulator
from ngu.novelty.memory import EpisodicMemory as EpisodicMemory
from ngu.novelty.ngu import NGU as NGU
from ngu.novelty.ngu import NGUConfig as NGUConfig
from ngu.novelty.noveld import NovelD as NovelD
from ngu.novelty.noveld import NovelDConfig as NovelDConfig
from ngu.novelty.re3 import RE3 as RE3
from ngu.novelty.re3 import RE3Config as RE3Config
from ngu.novelty.ride import RIDE as RIDE
from ngu.novelty.ride import RIDEConfig as RIDEConfig
from ngu.novelty.rnd import RND as RND
from ngu.novelty.rnd import RNDConfig as RNDConfig
from ngu.novelty.whitening import Whitening as Whitening

__version__ = _version("never-give-up")
