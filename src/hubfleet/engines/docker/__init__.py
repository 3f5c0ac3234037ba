"""Users' servers as containers of one machine's Docker engine, and the hub's parts as containers beside them."""
