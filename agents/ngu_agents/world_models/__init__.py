"""The agent of World Models: it learns to see, then to predict, then to act on both."""
