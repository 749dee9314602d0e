"""How new is what an agent just reached: intrinsic rewards and their parts."""
