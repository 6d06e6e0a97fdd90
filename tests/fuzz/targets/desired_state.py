"""Documents of Channels and Subscriptions with any mistakes, one state after another.

Whatever they hold: the result is a state in which each channel can be served and each address can
be called; problems are reported briefly, with their place and without secrets; and what cannot be
read any more stays.
"""

from dispatcher.egress.target import Target as Subscriber
from natss.contract.documents import desired_state
from natss.contract.names import is_dns_label, is_dns_name, normalise_host
from natss.contract.resources import DesiredState
from tests.fuzz.drawing import Draws
from tests.fuzz.objects import WORDS, of_a_file
from tests.fuzz.target import Target, expect

_LONGEST_PROBLEM = 1500


def run(data: bytes) -> None:
    draws = Draws(data, WORDS)
    state = DesiredState({})
    for _ in range(2):
        state = _read(draws, state)


def _read(draws: Draws, previous: DesiredState) -> DesiredState:
    documents = [(f"f.yaml, line {number}", of_a_file(draws)) for number in range(draws.below(4))]
    state = desired_state(documents, previous=previous)
    judge(state)
    again = desired_state(documents, previous=previous)
    expect(state == again, "another state of the same documents", state, again)
    return state


def judge(state: DesiredState) -> None:
    """Check that a state can be served, and that its problems can be shown."""
    for name, channel in state.channels.items():
        expect(is_dns_label(name.namespace) and is_dns_name(name.name), "no name", name)
        hosts = channel.hosts
        expect(hosts and all(host == normalise_host(host) for host in hosts), "no hosts", hosts)
        durables = [each.durable for each in channel.subscribers]
        expect(len(set(durables)) == len(durables), "two with one durable", durables)
        policy = channel.policy
        expect(0 < policy.timeout < policy.ack_wait, "a timeout that comes too late", policy)
        expect(policy.max_inflight >= 1 and policy.retry >= 0, "an impossible policy", policy)
        for subscriber in channel.subscribers:
            for uri in (subscriber.subscriber_uri, subscriber.reply_uri):
                if uri is not None:
                    Subscriber.parse(uri)
        if policy.dead_letter_uri is not None:
            Subscriber.parse(policy.dead_letter_uri)
    for problem in state.problems:
        expect(problem.resource and problem.message, "does not say what is wrong", problem)
        text = str(problem)
        expect(len(text) < _LONGEST_PROBLEM, "too long a problem", text)
        expect(text.encode() and text.isprintable(), "a problem that cannot be shown", text)
        expect("secret" not in text, "a secret is told", text)


TARGET = Target(
    "desired_state",
    run,
    seeds=(
        bytes(40),
        b"\1\0\2\2\5\2\1\1",
        b"\2\0\0\4\0\1\0\1\7",
        b"\1\0\4\2\x12\2\1\2\2\x15\2\0\3\1\6\2\0\0\7\5",
    ),
    words=(b"\1\0", b"\4\0"),
    longest=400,
)
