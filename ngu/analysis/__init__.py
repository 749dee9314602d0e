"""What an embedding holds: how many dimensions, how redundant, how many bits, what it knows."""
