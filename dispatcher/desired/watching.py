"""Watches files and folders: renames by editors, swapped links of ConfigMaps, deletions.

It reports too often rather than too rarely; reading again shows what has changed.
"""

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import aclosing
from pathlib import Path

import structlog
import watchfiles

log = structlog.get_logger(__name__)

_SETTLE_MS = 50
"""Changes are reported after this time without another one, so files are rarely read half-written.
"""

_MAX_SETTLE_MS = 500
_MAX_LINKS = 40  # as many as Linux follows

Folders = Mapping[Path, frozenset[str] | None]
"""The folders to watch, each with the names that matter in it; None if all names do."""


async def next_change(paths: Iterable[Path], longest: float) -> None:
    """Wait until something at the paths may have changed, at most ``longest`` seconds.

    Changes count from the moment when the call first suspends.
    """
    try:
        folders = watched_folders(paths)
        changes = watchfiles.awatch(
            *folders,
            watch_filter=lambda _, changed: _matters(Path(changed), folders),
            debounce=_MAX_SETTLE_MS,
            step=_SETTLE_MS,
            rust_timeout=int(longest * 1000),
            yield_on_timeout=True,
            recursive=False,
        )
        async with aclosing(changes):
            async for _ in changes:
                return
    except FileNotFoundError:  # vanished just now
        await asyncio.sleep(min(longest, 0.1))
    except (OSError, RuntimeError) as error:  # for example, inotify has reached its limits
        log.warning(
            "files cannot be watched, so they are read again now and then",
            every_seconds=longest,
            reason=str(error),
        )
        await asyncio.sleep(longest)


def watched_folders(paths: Iterable[Path]) -> Folders:
    """Return the folders in which changes of the paths show, including links on the way to them."""
    folders: dict[Path, frozenset[str] | None] = {}
    waiting = [path.absolute() for path in paths]
    for _ in range(_MAX_LINKS * len(waiting)):
        if not waiting:
            break
        path = waiting.pop()
        for place in (path, *path.parents):
            if place.is_symlink():
                folders[place.parent] = None
                waiting.append(place.parent / place.readlink() / path.relative_to(place))
        if path.is_dir():
            folders[path] = None
        existing = path
        while not existing.parent.exists():
            existing = existing.parent
        names = folders.get(existing.parent, frozenset())
        folders[existing.parent] = None if names is None else names | {existing.name}
    return folders


def _matters(changed: Path, folders: Folders) -> bool:
    names = folders.get(changed.parent, frozenset())
    return names is None or changed.name in names or changed in folders
