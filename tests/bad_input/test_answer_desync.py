"""Whatever a subscriber answers, the next event gets its own answer."""

import ssl

import pytest

from dispatcher.egress.client import Egress, EgressError, Target
from dispatcher.limits import EgressLimits
from tests.bad_input.desync import CASES, Desync
from tests.event_loops import BOTH
from tests.scripted_server import CLOSE, READ, ScriptedServer, answer

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
