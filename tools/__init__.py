"""What a checkout needs beyond its own files: the virtual environment and real servers.

Only the standard library is used here, for these programs run before anything is installed; but for
crds.py, which those who change the definitions of resources run.
"""
