"""Return, then explore: an archive of the states reached, and the agent that sets out from them.

Source: Ecoffet et al., "First return, then explore" (Nature 2021, arXiv 2004.12919).
"""
