"""What an embedding holds: how many dimensions, how redundant, how many bits, what it knows."""

from ngu.analysis.data import EmbeddingData as EmbeddingData
from ngu.analysis.data import Neighbours as Neighbours
from ngu.analysis.loading import load as load
