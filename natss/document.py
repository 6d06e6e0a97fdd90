"""What goes to the Kubernetes API and comes from it."""

from typing import Any

Document = dict[str, Any]
"""A JSON object."""
