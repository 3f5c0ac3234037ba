"""Users' servers as batch jobs of a Slurm cluster, which is reached by SSH at its login node."""
