"""Kills processes of a node, in a privileged pod that sees them: ``python kill.py WORD [POD]``.

SIGKILL to those whose command has a word of this name, of one pod only if one is named. Its exit
status is 1 if there was none.
"""

import os
import signal
import sys
from pathlib import Path


def is_meant(process: Path, word: str, pod: str | None) -> bool:
    try:
        words = (process / "cmdline").read_bytes().split(b"\0")
        variables = (process / "environ").read_bytes().split(b"\0")
    except OSError:  # it has just ended
        return False
    if word not in {Path(os.fsdecode(each)).name for each in words[:2]}:
        return False
    return pod is None or f"HOSTNAME={pod}".encode() in variables


def main() -> int:
    word, pod = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None
    found = [p for p in Path("/proc").glob("[0-9]*") if is_meant(p, word, pod)]
    for process in found:
        os.kill(int(process.name), signal.SIGKILL)
    print(f"killed {len(found)} of {word}")
    return 0 if found else 1


if __name__ == "__main__":
    sys.exit(main())
