"""The intrinsic reward in other people's agents; each module needs its own library."""
