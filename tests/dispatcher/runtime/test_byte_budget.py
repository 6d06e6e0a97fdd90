"""Reading stops while anybody holds it, and memory is taken from one account."""

import asyncio

import pytest

from dispatcher.runtime.byte_budget import ByteBudget, Hold, ReadFlow


class RecordingTransport(asyncio.ReadTransport):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []
        self.closing = False

    def is_closing(self) -> bool:
        return self.closing

    def pause_reading(self) -> None:
        self.calls.append("pause")

    def resume_reading(self) -> None:
        self.calls.append("resume")


def test_reading_resumes_when_the_last_reason_is_released() -> None:
    transport = RecordingTransport()
    flow = ReadFlow(transport)
    flow.hold(Hold.ANSWERS)
    flow.hold(Hold.WRITES)
    flow.hold(Hold.WRITES)
    held = [flow.is_held]
    flow.release(Hold.ANSWERS)
    held.append(flow.is_held)
    assert transport.calls == ["pause"]
    flow.release(Hold.WRITES)
    held.append(flow.is_held)
    assert held == [True, True, False]
    assert transport.calls == ["pause", "resume"]


def test_release_of_what_is_not_held_does_nothing() -> None:
    transport = RecordingTransport()
    flow = ReadFlow(transport)
    flow.release(Hold.ANSWERS)
    flow.hold(Hold.WRITES)
    flow.release(Hold.ANSWERS)
    assert transport.calls == ["pause"]


def test_a_closing_transport_is_left_alone() -> None:
    transport = RecordingTransport()
    flow = ReadFlow(transport)
    flow.hold(Hold.ANSWERS)
    transport.closing = True
    flow.release(Hold.ANSWERS)
    flow.hold(Hold.ANSWERS)
    assert transport.calls == ["pause"]


def test_a_budget_gives_up_to_its_limit() -> None:
    budget = ByteBudget(10)
    assert budget.take(4)
    assert budget.take(6)
    assert not budget.take(1)
    assert budget.used == 10
    budget.give_back(6)
    assert budget.take(5)
    assert budget.used == 9


def test_a_budget_takes_nothing_back_that_it_never_gave() -> None:
    budget = ByteBudget(10)
    assert budget.take(3)
    with pytest.raises(ValueError, match="4 bytes returned, but only 3 are taken"):
        budget.give_back(4)
    assert budget.used == 3
