"""Leader election on the real API, as the service account of the manifests."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import kopf
import pytest

from natss.document import Document
from natss.kube import LEASES, Conflict, KubeClient
from natss_provisioner.leader import LEASE, Election, Role, Timing
from tests.support.kubernetes import ApiAnswer, KubernetesServer, until
from tests.support.provisioner_process import ACCOUNT, NAMESPACE
from tests.support.proxy import Proxy

PATH = LEASES.path(NAMESPACE, LEASE)
PATIENT = Timing(lease_duration=60, renew_deadline=50.0, renew_period=0.2, retry_period=0.1)
"""With these timings no Lease is taken over during a test unless it is released."""

QUICK = Timing(lease_duration=3, renew_deadline=2.0, renew_period=0.2, retry_period=0.1)


class Candidate:
    """A replica that only records whether it leads."""

    def __init__(self, client: KubeClient, name: str, timing: Timing, turns: list[str]) -> None:
        self.election = Election(client, NAMESPACE, name, timing)
        self.client = client
        self.name = name
        self.leads = asyncio.Event()
        self.stands_by = asyncio.Event()
        self.stands_by.set()
        self.fail = asyncio.Event()
        self._turns = turns
        self.task = asyncio.create_task(self.election.run(self._lead), name=name)

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.wait((self.task,))

    async def _lead(self) -> None:
        self._turns.append(f"{self.name} begins")
        self.leads.set()
        self.stands_by.clear()
        try:
            await self.fail.wait()
            raise RuntimeError("a mistake of the test")
        finally:
            self._turns.append(f"{self.name} ends")
            self.leads.clear()
            self.stands_by.set()


class Candidates:
    """Creates candidates, each with a network of its own."""

    def __init__(self, kubernetes: KubernetesServer) -> None:
        self.turns: list[str] = []
        self._kubernetes = kubernetes
        self._token = kubernetes.token_of(NAMESPACE, ACCOUNT)
        self._made: list[tuple[Candidate, KubeClient, Proxy]] = []

    async def __call__(self, name: str, timing: Timing = PATIENT) -> tuple[Candidate, Proxy]:
        proxy = await Proxy(self._kubernetes.port).__aenter__()
        info = kopf.ConnectionInfo(
            server=f"https://127.0.0.1:{proxy.port}",
            ca_path=str(self._kubernetes.certificate_authority),
            token=self._token,
        )
        client = KubeClient(lambda: info, field_manager="tests")
        candidate = Candidate(client, name, timing, self.turns)
        self._made.append((candidate, client, proxy))
        return candidate, proxy

    async def close(self) -> None:
        for candidate, client, proxy in self._made:
            proxy.release()
            await candidate.stop()
            await client.close()
            await proxy.__aexit__()


@pytest.fixture
async def candidates(kubernetes: KubernetesServer) -> AsyncIterator[Candidates]:
    with contextlib.suppress(ApiAnswer):  # there is none
        kubernetes.delete(PATH)
    made = Candidates(kubernetes)
    yield made
    await made.close()


@pytest.fixture
async def spec(kubernetes: KubernetesServer) -> Callable[[], Any]:
    async def read() -> Document:
        lease = await asyncio.to_thread(kubernetes.get, PATH)
        document: Document = lease["spec"]
        return document

    return read


async def within(seconds: float, event: asyncio.Event) -> None:
    async with asyncio.timeout(seconds):
        await event.wait()


async def seen(condition: Callable[[], bool]) -> None:
    """Wait for a condition that no event reports: a candidate has checked the Lease again."""
    await asyncio.to_thread(until, condition, 20.0)


async def test_one_leads_the_other_stands_by_and_kubectl_tells_who(
    kubernetes: KubernetesServer, candidates: Candidates
) -> None:
    first, _ = await candidates("pod-a")
    await within(20, first.leads)
    second, _ = await candidates("pod-b")
    await seen(lambda: second.election.failure is None)
    assert (first.election.role, second.election.role) == (Role.LEADING, Role.STANDING_BY)
    table = await asyncio.to_thread(
        kubernetes.kubectl, "get", "lease", "-n", NAMESPACE, "natss-controller"
    )
    assert "pod-a" in table.splitlines()[1]
    assert candidates.turns == ["pod-a begins"]


async def test_one_that_ends_gives_the_lease_up(candidates: Candidates, spec: Any) -> None:
    first, _ = await candidates("pod-a")
    await within(20, first.leads)
    second, _ = await candidates("pod-b")
    await seen(lambda: second.election.failure is None)
    await first.stop()
    await within(20, second.leads)
    assert candidates.turns == ["pod-a begins", "pod-a ends", "pod-b begins"]
    assert (await spec())["leaseTransitions"] == 1


async def test_one_that_is_cut_off_stops_before_another_begins(candidates: Candidates) -> None:
    first, network = await candidates("pod-a", QUICK)
    await within(20, first.leads)
    second, _ = await candidates("pod-b", QUICK)
    await seen(lambda: second.election.failure is None)
    network.hold()
    await within(20, second.leads)
    assert candidates.turns == ["pod-a begins", "pod-a ends", "pod-b begins"]
    network.release()
    await seen(lambda: first.election.failure is None)
    assert first.election.role is Role.STANDING_BY


async def test_when_the_api_was_away_the_holder_goes_on(candidates: Candidates) -> None:
    only, network = await candidates("pod-a", QUICK)
    await within(20, only.leads)
    network.refuse()
    await within(20, only.stands_by)
    assert only.election.failure is not None
    assert "no answer" in only.election.failure
    network.release()
    await within(20, only.leads)
    assert only.election.failure is None


@pytest.mark.parametrize("renewed", ["2001-01-01T00:00:00.000000Z", "2199-01-01T00:00:00.000000Z"])
async def test_clocks_need_not_agree(
    kubernetes: KubernetesServer, candidates: Candidates, renewed: str
) -> None:
    """What counts is for how long no renewal of the Lease was seen."""
    spec = {"holderIdentity": "gone", "leaseDurationSeconds": 2, "renewTime": renewed}
    lease = {"metadata": {"name": LEASE}, "spec": spec}
    await asyncio.to_thread(kubernetes.create, LEASES.path(NAMESPACE), lease)
    began = asyncio.get_running_loop().time()
    candidate, _ = await candidates("pod-a")
    await within(20, candidate.leads)
    assert asyncio.get_running_loop().time() - began >= 2.0


async def test_who_comes_back_under_its_name_goes_on(
    kubernetes: KubernetesServer, candidates: Candidates
) -> None:
    spec = {"holderIdentity": "pod-a", "leaseDurationSeconds": 60, "leaseTransitions": 3}
    lease = {"metadata": {"name": LEASE}, "spec": spec}
    await asyncio.to_thread(kubernetes.create, LEASES.path(NAMESPACE), lease)
    candidate, _ = await candidates("pod-a")
    await within(20, candidate.leads)
    assert kubernetes.get(PATH)["spec"]["leaseTransitions"] == 3


async def test_a_lease_that_is_taken_away_is_given_way_to(
    kubernetes: KubernetesServer, candidates: Candidates
) -> None:
    candidate, _ = await candidates("pod-a")
    await within(20, candidate.leads)
    taken = {"spec": {"holderIdentity": "somebody", "leaseDurationSeconds": 1}}
    await asyncio.to_thread(kubernetes.patch, PATH, taken)
    await within(20, candidate.stands_by)
    await within(20, candidate.leads)  # for somebody does not renew it
    assert candidates.turns == ["pod-a begins", "pod-a ends", "pod-a begins"]


async def test_neither_a_foreign_write_nor_a_deletion_ends_it(
    kubernetes: KubernetesServer, candidates: Candidates, monkeypatch: pytest.MonkeyPatch
) -> None:
    candidate, _ = await candidates("pod-a")
    await within(20, candidate.leads)
    patch, is_written_between = candidate.client.patch, asyncio.Event()

    async def after_another_write(*args: Any) -> Document:
        monkeypatch.setattr(candidate.client, "patch", patch)
        note: Document = {"metadata": {"annotations": {"note": "of somebody else"}}}
        await asyncio.to_thread(kubernetes.patch, PATH, note)
        try:
            return await patch(*args)
        except Conflict:
            is_written_between.set()
            raise

    monkeypatch.setattr(candidate.client, "patch", after_another_write)
    await within(20, is_written_between)
    await asyncio.to_thread(kubernetes.delete, PATH)
    await asyncio.to_thread(
        until, lambda: kubernetes.get(PATH)["spec"]["holderIdentity"] == "pod-a", 20.0
    )
    assert candidates.turns == ["pod-a begins"]


async def test_what_breaks_the_work_goes_through_and_the_lease_is_free(
    candidates: Candidates, spec: Any
) -> None:
    candidate, _ = await candidates("pod-a")
    await within(20, candidate.leads)
    candidate.fail.set()
    with pytest.raises(RuntimeError, match="a mistake of the test"):
        await candidate.task
    assert (await spec())["holderIdentity"] == ""


async def test_without_the_role_it_says_what_to_do(
    kubernetes: KubernetesServer, candidates: Candidates
) -> None:
    path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{NAMESPACE}/roles/natss-controller"
    rules = (await asyncio.to_thread(kubernetes.get, path))["rules"]
    await asyncio.to_thread(kubernetes.patch, path, {"rules": []})
    try:
        candidate, _ = await candidates("pod-a")
        await seen(lambda: "403" in (candidate.election.failure or ""))
        failure = candidate.election.failure or ""
        assert "apply config/roles" in failure
        assert "LEADER_ELECTION" in failure
    finally:
        await asyncio.to_thread(kubernetes.patch, path, {"rules": rules})
    await within(20, candidate.leads)
