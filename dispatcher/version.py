"""The version of this program, as it was installed."""

import importlib.metadata

VERSION = importlib.metadata.version("natss-channel")
