"""A process that has imported all that a user's server needs, and becomes one for each who asks, by forking.

``parent``: that process; runs in the users' environment. ``child``: what a fork does to be like a server that was
started plainly. ``client``: the launcher's side.
"""
