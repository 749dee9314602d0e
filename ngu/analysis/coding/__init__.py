"""Redundancy in bits that are really written: embeddings by transform coding.

Source: Jia et al., "Generative Latent Coding for Ultra-Low Bitrate Image Compression" (CVPR 2024),
stage II, for vectors in place of pictures.
"""

from ngu.analysis.coding.redundancy import Redundancy as Redundancy
from ngu.analysis.coding.redundancy import redundancy as redundancy
