"""How a session starts: what was asked, which kind, the Slurm job, and the way back to the hub."""
