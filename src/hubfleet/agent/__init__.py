"""What runs on a machine: reads the state of resources and changes it. Standard library only, Python 3.9+.

It starts anew with each connection. So nothing is imported here, and modules import what few requests need only then.
"""
