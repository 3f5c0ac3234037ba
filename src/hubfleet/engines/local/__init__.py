"""Engine `local`: everything on this machine, servers as its processes."""
