"""What a checkout needs beyond its own files: the virtual environment and real servers.

These programs use only the standard library, because they run before anything is installed; except
those for people who change the definitions of resources (crds.py) or the picture of the imports
(architecture.py).
"""
