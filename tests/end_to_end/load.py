"""Events that flow through the cluster while a test breaks something in it."""

import contextlib
import urllib.parse
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.end_to_end.cluster import SECONDS, Cluster, until
from tests.end_to_end.installation import HERE, LOAD, SUBSCRIBERS


@dataclass
class Run:
    """What became of the events that were posted during a test."""

    name: str
    accepted: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    more_than_once: Counter[str] = field(default_factory=Counter)
    """By subscriber, how many events came more than once."""

    def __str__(self) -> str:
        return (
            f"{self.name}: {len(self.accepted)} accepted, {len(self.refused)} refused, "
            f"more than once {dict(self.more_than_once)}"
        )


class Load:
    """The publisher and the subscribers, which are pods."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._url = ""

    def create_channels(self) -> None:
        """Apply ``channels.yaml`` and wait until everything is ready."""
        cluster = self._cluster
        cluster.kubectl("apply", "--server-side", f"--filename={HERE / 'channels.yaml'}")
        ready = ["--for=condition=Ready", "channels,subscriptions", "--all"]
        where = [f"--namespace={LOAD}", f"--timeout={SECONDS:.0f}s"]
        cluster.kubectl("wait", *ready, *where, seconds=SECONDS + 30)
        self._url = f"http://{self.hostname_of('orders')}/"
        with self.flowing("first") as run:
            until(lambda: self.accepted(run) > 20)

    def hostname_of(self, channel: str) -> str:
        status = self._cluster.get(LOAD, "channel", channel)["status"]
        return str(status["address"]["hostname"])

    @contextlib.contextmanager
    def flowing(self, name: str) -> Iterator[Run]:
        """Post events all the while; then check that all accepted ones arrive everywhere.

        Some are accepted before the block begins, and some after it has ended. One subscriber takes
        none before that, so most of its events are nowhere but in NATS Streaming.

        Raises:
            AssertionError: accepted events have not come to a subscriber.
        """
        run = Run(name)
        self._cluster.post_to_pod(LOAD, "closed", "/close")
        self._begin(run)
        until(lambda: self.accepted(run) > 0)
        yield run
        before = self.accepted(run)
        until(lambda: self.accepted(run) > before)
        self._end(run)
        self._cluster.post_to_pod(LOAD, "closed", "/open")
        for subscriber, prefix in SUBSCRIBERS.items():
            self._await_all(run, subscriber, prefix)
        print(run)

    def accepted(self, run: Run) -> int:
        report = self._cluster.get_from_pod(LOAD, "publisher", "/")
        return len(report["accepted"])

    def _begin(self, run: Run) -> None:
        query = urllib.parse.urlencode({"run": run.name, "url": self._url})
        self._cluster.post_to_pod(LOAD, "publisher", f"/start?{query}")

    def _end(self, run: Run) -> None:
        report = self._cluster.post_to_pod(LOAD, "publisher", "/stop")
        run.accepted, run.refused = report["accepted"], report["refused"]

    def _await_all(self, run: Run, subscriber: str, prefix: str) -> None:
        missing = {prefix + event for event in run.accepted}
        times: dict[str, int] = {}

        def nothing_is_missing() -> bool:
            path = f"/received?run={run.name}"
            times.update(self._cluster.get_from_pod(LOAD, subscriber, path))
            missing.difference_update(times)
            return not missing

        try:
            until(nothing_is_missing)
        except AssertionError:
            some = sorted(missing)[:5]
            raise AssertionError(
                f"{run}; {len(missing)} have not come to {subscriber}, as {some}"
            ) from None
        run.more_than_once[subscriber] = sum(n > 1 for n in times.values())
