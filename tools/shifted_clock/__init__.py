"""Builds a Go program whose wall clock tests can shift while it runs.

Go asks the kernel for the time without a library that could be replaced, and changing the machine's
clock takes root. So the program is built with another ``time.Now``, by Go's flag ``-overlay``: it
adds the seconds in the file that ``FAULTS_CLOCK`` names (``shift.go``). Its monotonic clock stays
right.
"""

import json
import re
from pathlib import Path

from tools.cache import ToolError

ADDED = Path(__file__).with_name("shift.go")
_NOW = re.compile(r"(?<=^func Now\(\) Time \{\n)\tsec, nsec, mono := \w+\(\)\n", re.MULTILINE)


def write_overlay(go_root: Path, folder: Path) -> Path:
    """Write what replaces the files of Go's package ``time``, for ``-overlay``.

    Args:
        go_root: Where the standard library is.
        folder: Receives the files.

    Raises:
        ToolError: this Go has another ``time.Now``.
    """
    package = go_root / "src" / "time"
    replaced = folder / "time.go"
    replaced.write_text(with_shift((package / "time.go").read_text()))
    overlay = folder / "overlay.json"
    files = {package / "time.go": replaced, package / ADDED.name: ADDED}
    overlay.write_text(json.dumps({"Replace": {str(old): str(new) for old, new in files.items()}}))
    return overlay


def with_shift(source: str) -> str:
    """Return Go's ``time.go`` with a ``Now`` that adds the shift. Raises ToolError."""
    changed, times = _NOW.subn(
        lambda match: f"{match[0]}\tsec, nsec = shifted(sec, nsec)\n", source
    )
    if times != 1:
        raise ToolError(
            "the standard library of this Go reads its clock in another way than is known here, so "
            "that no server with a clock that jumps can be built; put Go 1.21 to 1.26 on PATH"
        )
    return changed
