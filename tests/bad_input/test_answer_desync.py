"""Whatever a subscriber answers, the next event gets its own answer."""

import ssl

import pytest

from dispatcher.delivery.attempts import Attempts, Plan
from dispatcher.delivery.rules import Outcome
from dispatcher.egress.client import Egress, EgressError, Target
from dispatcher.egress.limits import EgressLimits
from dispatcher.runtime.byte_budget import ByteBudget
from dispatcher.runtime.metrics import SubscriptionMetrics
from natss.contract.resources import DeliveryPolicy
from tests.bad_input.desync import CASES, Desync
from tests.dispatcher.delivery.pending_events import pending
from tests.fuzz.strict_http import first_status
from tests.support.event_loops import BOTH
from tests.support.scripted_server import CLOSE, READ, ScriptedServer, answer

EVENT_LOOPS = BOTH

TLS = ssl.create_default_context()
_NEXT = answer(200, b"next")


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_an_answer_ends_where_it_ends(case: Desync) -> None:
    after = (CLOSE,) if case.cut else (READ, _NEXT)
    egress = Egress(EgressLimits(), TLS)
    try:
        async with ScriptedServer((READ, case.data, *after), (READ, _NEXT)) as server:
            target = Target.parse(server.url)
            if case.status:
                response = await egress.post(target, b"", b"{}", 10.0)
                assert (response.status, response.body) == (case.status, case.body)
            else:
                with pytest.raises(EgressError) as caught:
                    await egress.post(target, b"", b"{}", 10.0)
                assert caught.value.reason is case.reason
                assert str(caught.value).isprintable()
            following = await egress.post(target, b"", b"{}", 10.0)
            assert (following.status, following.body) == (200, b"next")
            assert server.accepted == (1 if case.reuses else 2)
    finally:
        await egress.close()


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_where_no_reply_is_wanted_a_success_is_settled_by_its_status_line(
    case: Desync,
) -> None:
    """Whatever the rest is; and the subscriber is called once."""
    is_taken = first_status(case.data) in range(200, 300)
    egress = Egress(EgressLimits(), TLS)
    try:
        async with ScriptedServer(
            (READ, case.data, *((CLOSE,) if case.cut else ())), (READ, answer(500))
        ) as server:
            plan = Plan(Target.parse(server.url), None, None, DeliveryPolicy(retry=0, timeout=0.5))
            attempts = Attempts(plan, egress, SubscriptionMetrics(), ByteBudget(2**20))
            outcome = await attempts.deliver(pending(b"{}"))
            assert outcome is (Outcome.DELIVERED if is_taken else Outcome.FAILED)
            assert len(server.requests) == 1
            if is_taken and not case.reuses:
                await attempts.deliver(pending(b"{}"))
                assert server.accepted == 2
    finally:
        await egress.close()
