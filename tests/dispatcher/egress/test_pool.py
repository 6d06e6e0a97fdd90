"""Which connection a request gets: limits, order, fairness and age, on fakes."""

import asyncio
import itertools

import pytest

from dispatcher.egress.connection import EgressConnectionState, EgressError, FailureReason
from tests.dispatcher.egress.pools_on_fakes import World, answer, begin, taken_until_full


async def test_the_last_used_connection_goes_first() -> None:
    world = World()
    first, second = world.taken(), world.taken()
    answer(first)
    answer(second)
    assert world.taken() is second
    assert world.taken() is first


async def test_no_connection_is_used_after_the_idle_timeout_between_two_sweeps() -> None:
    """It is set to less than the time after which the subscriber's server closes."""
    world = World(idle_timeout=20.0)
    first, second = world.taken(), world.taken()
    answer(first)
    world.loop.now += 6.0
    answer(second)
    world.loop.now += 19.999
    assert world.taken() is second
    answer(second)
    world.loop.now += 20.0
    assert world.taken() not in {first, second}
    assert first.state is second.state is EgressConnectionState.CLOSED


async def test_origins_do_not_share_connections() -> None:
    world = World()
    answer(world.taken("a"))
    assert world.taken("b") is not None
    assert world.pools.summary == "2 origins, 2 connections, 1 idle, 0 waiting"


async def test_limit_of_an_origin() -> None:
    world = World(max_connections_per_origin=2)
    world.taken()
    world.taken()
    assert world.full()
    world.taken("b")


async def test_waiting_is_first_come_first_served() -> None:
    world = World(max_connections_per_origin=1)
    connection = world.taken()
    waiters = [await world.waiting() for _ in range(3)]
    for waiter in waiters:
        assert not waiter.done()
        answer(connection)
        assert await waiter is connection
    assert world.pools.summary == "1 origins, 1 connections, 0 idle, 0 waiting"


async def test_nobody_overtakes_those_who_wait() -> None:
    world = World(max_connections_per_origin=1)
    connection = world.taken()
    waiter = await world.waiting()
    assert world.full()
    connection.abort()
    assert world.full()  # the place is already given away
    assert (await waiter).state is EgressConnectionState.ACTIVE


async def test_place_of_a_lost_connection_goes_to_the_next() -> None:
    world = World(max_connections_per_origin=1)
    connection = world.taken()
    waiter = await world.waiting()
    connection.connection_lost(ConnectionResetError())
    assert await waiter is not connection


async def test_idle_connections_are_limited() -> None:
    """Only those that nobody has used for a while: a burst of answers closes none."""
    world = World(max_idle_per_origin=2, idle_timeout=20.0)
    connections = [world.taken() for _ in range(5)]
    for connection in connections:
        answer(connection)
    world.loop.advance(4)
    world.pools.close_idle()
    assert world.pools.summary == "1 origins, 5 connections, 5 idle, 0 waiting"
    used = [world.taken() for _ in range(3)]
    for connection in used:
        answer(connection)
    world.loop.advance(2)
    world.pools.close_idle()
    assert [x.state for x in connections] == [EgressConnectionState.CLOSED] * 2 + [
        EgressConnectionState.IDLE
    ] * 3
    world.loop.advance(5)
    world.pools.close_idle()
    assert world.pools.summary == "1 origins, 2 connections, 2 idle, 0 waiting"


async def test_connection_closed_while_idle_is_forgotten() -> None:
    world = World()
    first, second = world.taken(), world.taken()
    answer(first)
    answer(second)
    second.connection_lost(None)
    assert world.taken() is first
    first.connection_lost(None)
    assert world.pools.summary == "0 origins, 0 connections, 0 idle, 0 waiting"


# Cancellation


async def test_who_gives_up_waiting_leaves_the_line() -> None:
    world = World(max_connections_per_origin=1)
    connection = world.taken()
    waiters = [await world.waiting() for _ in range(3)]
    waiters[0].cancel()
    waiters[1].cancel()
    answer(connection)  # before the cancelled tasks have run
    assert await waiters[2] is connection
    assert world.pools.summary == "1 origins, 1 connections, 0 idle, 0 waiting"


async def test_all_give_up_waiting() -> None:
    world = World(max_connections_per_origin=1)
    connection = world.taken()
    waiters = [await world.waiting() for _ in range(3)]
    for waiter in waiters:
        waiter.cancel()
    answer(connection)
    await asyncio.gather(*waiters, return_exceptions=True)
    assert world.pools.summary == "1 origins, 1 connections, 1 idle, 0 waiting"
    assert world.taken() is connection


async def test_given_up_just_when_it_was_handed_over() -> None:
    """The connection must not stay with nobody."""
    world = World(max_connections_per_origin=1)
    connection = world.taken()
    first, second = await world.waiting(), await world.waiting()
    answer(connection)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert await second is not connection
    assert connection.state is EgressConnectionState.CLOSED


async def test_new_arrival_is_not_stuck_behind_those_who_gave_up() -> None:
    world = World(max_connections_per_origin=1)
    connection = world.taken()
    waiter = await world.waiting()
    waiter.cancel()
    connection.abort()
    world.taken()  # though the cancelled task has not run yet
    with pytest.raises(asyncio.CancelledError):
        await waiter


async def test_late_farewell_does_not_harm_the_successor() -> None:
    """The origin was forgotten and is used again before the cancelled task has run."""
    world = World(max_connections_per_origin=1)
    connection = world.taken()
    waiter = await world.waiting()
    waiter.cancel()
    connection.abort()
    successor = world.taken()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    answer(successor)
    assert world.taken() is successor


# The limit of all origins


async def test_room_is_made_by_closing_what_is_idle_longest() -> None:
    world = World(max_connections=3)
    a, b, c = world.taken("a"), world.taken("b"), world.taken("c")
    for connection in (b, a, c):
        answer(connection)
    world.taken("d")
    assert [x.state for x in (a, b, c)] == [
        EgressConnectionState.IDLE,
        EgressConnectionState.CLOSED,
        EgressConnectionState.IDLE,
    ]


async def test_first_connection_of_an_origin_never_waits() -> None:
    """A hundred hanging subscribers may not keep another from its first connection."""
    world = World(max_connections=2)
    for number in range(100):
        world.taken(f"hung-{number}")
        assert world.full(f"hung-{number}")
    world.taken("quick")
    assert world.pools.summary == "101 origins, 101 connections, 0 idle, 0 waiting"


async def test_origins_that_hang_share_what_there_is_and_leave_a_share_for_another() -> None:
    world = World(max_connections=100, max_connections_per_origin=40)
    taken = {name: taken_until_full(world, name) for name in ("a", "b", "c", "d", "quick")}
    assert taken == {"a": 40, "b": 30, "c": 15, "d": 8, "quick": 4}


async def test_what_is_idle_counts_as_room() -> None:
    world = World(max_connections=4)
    connections = [world.taken(name) for name in "abcd"]
    assert world.full("a")
    answer(connections[1])
    answer(connections[2])
    world.taken("a")
    assert [x.state for x in connections[1:3]] == [
        EgressConnectionState.CLOSED,
        EgressConnectionState.IDLE,
    ]


async def test_a_share_grows_when_others_have_less() -> None:
    world = World(max_connections=8)
    shares = [[world.taken(name) for _ in range(count)] for name, count in (("a", 4), ("b", 2))]
    last = world.taken("c")
    waiter = await world.waiting("b")
    answer(last)
    assert last.state is EgressConnectionState.IDLE, "it would not be enough"
    shares[0][0].abort()
    await waiter


async def test_freed_place_goes_to_the_origin_with_the_fewest() -> None:
    world = World(max_connections=9)
    rich = [world.taken("rich") for _ in range(5)]
    for _ in range(2):
        world.taken("poor")
    waits_rich = await world.waiting("rich")
    waits_poor = await world.waiting("poor")
    rich[0].abort()
    await waits_poor
    assert not waits_rich.done()
    rich[1].abort()
    rich[2].abort()
    await waits_rich


async def test_busy_origin_shares_with_one_that_waits() -> None:
    """Its own next request waits a little, instead of the other's for ever."""
    world = World(max_connections=11)
    rich = [world.taken("rich") for _ in range(6)]
    for _ in range(3):
        world.taken("poor")
    own = await world.waiting("rich")
    other = await world.waiting("poor")
    answer(rich[0])
    answer(rich[1])
    await other
    assert rich[0].state is rich[1].state is EgressConnectionState.CLOSED
    assert not own.done()
    answer(rich[2])
    assert await own is rich[2]


async def test_sharing_stops_where_it_would_only_swap_places() -> None:
    world = World(max_connections=3)
    a = [world.taken("a"), world.taken("a")]
    world.taken("b")
    own, other = await world.waiting("a"), await world.waiting("b")
    answer(a[0])
    assert await own is a[0]
    assert not other.done()
    other.cancel()


async def test_connection_that_would_idle_makes_room_for_another_origin() -> None:
    world = World(max_connections=3)
    a, b = world.taken("a"), world.taken("b")
    other = await world.waiting("b")
    answer(a)
    await other
    assert a.state is EgressConnectionState.CLOSED
    answer(b)
    assert b.state is EgressConnectionState.IDLE


async def test_retry_finds_room_beside_idle_connections() -> None:
    """``open`` without ``take_idle``: an idle connection makes room rather than let it wait."""
    world = World(max_connections_per_origin=1)
    idle = world.taken()
    answer(idle)
    fresh = world.pools.open("a")
    assert fresh is not None
    assert fresh.state is EgressConnectionState.NEW
    assert idle.state is EgressConnectionState.CLOSED
    begin(fresh)
    answer(fresh)
    assert world.taken() is fresh


# Age


async def test_old_connections_are_not_used_again() -> None:
    world = World(max_age=60.0, idle_timeout=1000.0)
    connection = world.taken()
    answer(connection)
    world.loop.advance(44)
    assert world.taken() is connection
    answer(connection)
    world.loop.advance(17)
    assert world.taken() is not connection
    assert connection.state is EgressConnectionState.CLOSED


async def test_age_is_seen_when_a_connection_is_handed_over() -> None:
    """Else an origin that always has somebody waiting would never see its DNS change."""
    world = World(max_connections_per_origin=1, max_age=60.0)
    connection = world.taken()
    waiter = await world.waiting()
    world.loop.advance(61)
    answer(connection)
    assert await waiter is not connection


async def test_connections_of_a_burst_do_not_age_together() -> None:
    world = World(max_age=60.0)
    ages = sorted(world.taken().expires - world.loop.now for _ in range(64))
    assert 45 <= ages[0] < ages[-1] <= 60
    assert max(b - a for a, b in itertools.pairwise(ages)) < 2


async def test_idle_connections_are_closed_in_time() -> None:
    world = World(idle_timeout=15.0)
    early, late, busy = world.taken("a"), world.taken("b"), world.taken("c")
    answer(early)
    world.loop.advance(10)
    answer(late)
    world.loop.advance(10)
    world.pools.close_idle()
    assert [x.state for x in (early, late, busy)] == [
        EgressConnectionState.CLOSED,
        EgressConnectionState.IDLE,
        EgressConnectionState.ACTIVE,
    ]
    assert world.pools.summary == "2 origins, 2 connections, 1 idle, 0 waiting"


async def test_origins_that_are_gone_leave_nothing() -> None:
    world = World(idle_timeout=1.0)
    for number in range(5000):
        answer(world.taken(f"origin-{number}"))
        world.loop.advance(1 / 64)
        world.pools.close_idle()
    assert world.pools.summary == "63 origins, 63 connections, 63 idle, 0 waiting"
    world.loop.advance(2)
    world.pools.close_idle()
    assert world.pools.summary == "0 origins, 0 connections, 0 idle, 0 waiting"
    assert not world.pools.is_used


async def test_close_ends_all() -> None:
    world = World(max_connections_per_origin=2)
    busy, idle = world.taken(), world.taken()
    answer(idle)
    world.taken("b")
    world.taken()
    waiter = await world.waiting()
    error = EgressError(FailureReason.CLOSED, "closed")
    world.pools.close(error)
    with pytest.raises(EgressError):
        await waiter
    assert busy.state is idle.state is EgressConnectionState.CLOSED
    assert world.pools.summary == "0 origins, 0 connections, 0 idle, 0 waiting"


# Memory


async def test_long_answers_of_one_origin_leave_as_much_memory_for_others() -> None:
    """One that sends them slowly would otherwise take the memory for the events of everybody."""
    world = World()
    greedy = [world.taken("a") for _ in range(10)]
    for connection in greedy:
        connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n")
        connection.data_received(b"x" * 200_000)
    assert world.budget.free > world.budget.limit // 5, "one at a time goes beyond the half"
    modest = world.taken("b")
    modest.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000)
    assert modest.state is EgressConnectionState.IDLE
    for connection in greedy:
        connection.abort()
    assert world.budget.used == 0
