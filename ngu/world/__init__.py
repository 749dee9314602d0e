"""The latent world model: see, predict, imagine."""
