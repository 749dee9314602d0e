"""Environments to explore: Atari, Crafter, mazes, DeepSea, and any of gymnasium's, by name."""

from ngu_envs.achievements import AchievementCounter as AchievementCounter
from ngu_envs.achievements import crafter_score as crafter_score
from ngu_envs.atari import AtariConfig as AtariConfig
from ngu_envs.atari_process import WorkerDiedError as WorkerDiedError
from ngu_envs.crafter import CrafterConfig as CrafterConfig
from ngu_envs.deep_sea import DeepSeaConfig as DeepSeaConfig
from ngu_envs.disco_maze import DiscoMazeConfig as DiscoMazeConfig
from ngu_envs.make import config_type as config_type
from ngu_envs.make import environment_family as environment_family
from ngu_envs.make import is_restorable as is_restorable
from ngu_envs.make import known_names as known_names
from ngu_envs.make import make as make
from ngu_envs.noisy_tv import NoisyTVConfig as NoisyTVConfig
from ngu_envs.rooms import RoomCounter as RoomCounter
from ngu_envs.vectorized import RestorableVectorEnv as RestorableVectorEnv
