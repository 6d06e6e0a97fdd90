"""An application that publishes one event after the other, and remembers what it was told."""

import asyncio
import itertools
from types import TracebackType
from typing import Self

from dispatcher.runtime.tasks import cancel
from tests.kyma.event_bus import EventBus, EventType, Outcome
from tests.support.subscriber import Subscriber
from tests.support.waiting import Changes, eventually


class Traffic:
    """Publishes while ``async with`` lasts.

    Args:
        bus: Takes the events.
        events: Of this type; their ids are numbered.
        rest: Seconds between two events.
    """

    def __init__(self, bus: EventBus, events: EventType, rest: float = 0.01) -> None:
        self.outcomes: dict[str, Outcome] = {}
        """By event, in their order."""
        self._bus = bus
        self._events = events
        self._rest = rest
        self._stopping = asyncio.Event()
        self._progress = Changes()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._publish(), name="traffic")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._task is not None
        self._stopping.set()
        if error is None:
            await self._task
        else:
            await cancel(self._task)

    @property
    def published(self) -> list[str]:
        """What was answered with 202, in order."""
        return [each for each, told in self.outcomes.items() if told is Outcome.PUBLISHED]

    @property
    def mark(self) -> int:
        """How many were published so far; for ``since``."""
        return len(self.published)

    async def go_on(self, count: int = 20, seconds: float = 30.0) -> None:
        """Wait until so many more are published."""
        wanted = self.mark + count
        await self._progress.until(lambda: self.mark >= wanted, seconds)

    async def all_reach(self, *subscribers: Subscriber, since: int = 0) -> None:
        """Wait until for each published event one of the subscribers has got it.

        Args:
            subscribers: One, or several that took turns.
            since: Events before this mark do not count.
        """
        wanted = set(self.published[since:])

        def missing() -> set[str]:
            return wanted.difference(*(each.counts for each in subscribers))

        async def have_all() -> bool:
            return not missing()

        try:
            await eventually(have_all, 30.0)
        except TimeoutError:
            raise AssertionError(f"lost: {sorted(missing())}") from None

    async def _publish(self) -> None:
        for number in itertools.count():
            if self._stopping.is_set():
                return
            event = f"e{number:05}"
            self.outcomes[event] = await self._bus.publish(self._events, event)
            self._progress.note()
            await asyncio.sleep(self._rest)
