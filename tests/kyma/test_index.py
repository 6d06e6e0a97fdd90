"""What Kyma's controllers rely on, and the tests of it: ``test_item_NN_`` in this folder, and more.

 1. Channels of ``natss`` are ours, with or without kind; others are left alone.
 2. Ready with an address in less than 10 s, all four conditions, and the provisioner too.
 3. No passing outage makes a channel unready.
 4. Both forms of Host, with or without port, in any case.
 5. 202 after the PubAck only; 404, 405; 5xx within 10 s.
 6. Bodies of 64 KiB and more; 400 publishers at once, each with a connection.
 7. Which headers are forwarded.
 8. The golden vector of channel names; the headers that an application gets.
 9. What is stored is what Go stored; what Go stored is delivered:
    dispatcher/program/test_process.py, test_a_backlog_of_the_go_dispatcher_is_delivered
    upgrade/test_upgrade.py, test_what_go_left_is_taken_over
10. URIs word for word, completed where they are names.
11. 2xx settles an event and nothing else does; nobody waits for another:
    dispatcher/program/test_slow_and_down.py,
    test_a_subscriber_that_is_down_does_not_slow_its_neighbour
12. An end of the dispatcher never unsubscribes; a removal does.
13. A Subscription that is deleted and made again goes on; one that is removed gets nothing more:
    kyma/test_life.py, test_the_life_of_a_subscription
    dispatcher/durables/test_reconciler.py,
    test_after_its_grace_a_removed_subscriber_is_unsubscribed
14. NATS Streaming is away for long, or its store is wiped.
15. Wrong credentials are tried until they are right, and never shown.
16. The finalizer comes and goes, also without NATS Streaming:
    dispatcher/cluster/test_finalizers.py, test_the_one_of_the_go_dispatcher_is_adopted
17. Orphaned Services are adopted, never doubled; what is refused is tried again:
    natss_provisioner/test_provisioner_restarts.py,
    test_a_service_restored_from_a_backup_is_adopted
    natss_provisioner/test_work.py, test_what_fails_is_tried_until_it_succeeds
18. What is wrong is told by event, metric and reason, and leaves channels ready.
19. Metrics of publishing, delivery, what is pending, connections.
20. A short run at Kyma's rate, for the hour of it is too long here; a slow subscriber with a
    backlog; the start with 1,000 channels:
    dispatcher/program/test_slow_and_down.py,
    test_a_backlog_goes_to_a_slow_subscriber_once_whatever_the_ack_wait
    dispatcher/cluster/test_source_faults.py,
    test_the_event_loop_is_never_held_up_by_1000_channels
"""

import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TESTS = HERE.parent
NAMED = re.findall(r"((?:\w+/)+test_\w+\.py),\s+(test_\w+)", __doc__)


def functions(file: Path) -> set[str]:
    return set(re.findall(r"^ *(?:async )?def (test_\w+)\(", file.read_text(), re.MULTILINE))


@pytest.mark.parametrize("number", range(1, 21))
def test_every_item_has_a_line_and_a_test(number: int) -> None:
    assert re.search(rf"^ *{number}\. ", __doc__, re.MULTILINE)
    everywhere = set[str]().union(*(functions(file) for file in HERE.glob("test_*.py")))
    assert [name for name in everywhere if name.startswith(f"test_item_{number:02}_")]


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_what_is_named_is_there(file: str, name: str) -> None:
    assert name in functions(TESTS / file)


def test_all_lines_are_understood() -> None:
    assert len(NAMED) == __doc__.count(".py")
