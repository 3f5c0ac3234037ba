"""Files of TACC's Deployer as a second way to write a configuration: `*.configs`, `*.hosts` and `*.passwords`.

They become the plain data that a hubfleet.yaml would hold, each setting with the line it comes from; everything after
that is the same. Imported piece by piece: most commands need to know only that a file is none of these.
"""
