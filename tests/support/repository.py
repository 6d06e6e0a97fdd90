"""Where things are in the repository."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GOLDEN_FOLDER = ROOT / "tests" / "golden"
"""What was recorded from the Go dispatchers."""

BIN = ROOT / ".tools" / "bin"
"""Real servers; ``make test`` puts them there."""
