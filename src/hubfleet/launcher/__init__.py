"""The daemon that owns users' servers: it starts, finds again and stops them, and it outlives the hub."""
