"""Engine `swarm`: users' servers as services of a Docker Swarm, over several machines."""
