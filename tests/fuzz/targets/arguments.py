"""``spec.arguments`` of a Channel, every key with any value.

Whatever they are: the result is a policy that can be kept to, the same for the same arguments, and
a problem for each value that is not used, which says what to write instead.
"""

from dispatcher.egress.target import Target as Subscriber
from natss.contract.arguments import ARGUMENTS, parse_arguments
from natss.contract.resources import Defaults, StartKind
from natss.nats_streaming.options import StartAt
from tests.fuzz.drawing import Draws
from tests.fuzz.objects import WORDS
from tests.fuzz.target import Target, expect

_KEYS = (*ARGUMENTS, "retires", "")
_DEFAULTS = Defaults()
_DIGITS = "0123456789.,-+:eEpPtTzZmshdwy \u0661\xb5"


def run(data: bytes) -> None:
    draws = Draws(data, WORDS)
    former = None
    for _ in range(1 + draws.below(2)):
        arguments = {draws.choice(_KEYS): _value(draws) for _ in range(1 + draws.below(4))}
        policy, problems = parse_arguments(
            arguments, "Channel shop/orders", "shop", _DEFAULTS, former
        )
        again, _ = parse_arguments(arguments, "Channel shop/orders", "shop", _DEFAULTS, policy)
        expect(0 < policy.timeout < policy.ack_wait, "a timeout that comes too late", policy)
        expect(1 <= policy.max_inflight <= 10_000, "an impossible window", policy)
        expect(
            0 <= policy.retry <= 1000 and policy.backoff_delay >= 0, "impossible retries", policy
        )
        expect(again.start == policy.start and again.order == policy.order, "not the same", again)
        if policy.dead_letter_uri is not None:
            Subscriber.parse(policy.dead_letter_uri)
        if policy.start.kind is StartKind.SEQUENCE:
            StartAt.sequence(int(policy.start.value))
        elif policy.start.kind is StartKind.AGO:
            StartAt.time_ago(policy.start.value)
        elif policy.start.kind is StartKind.TIME:
            StartAt.time(policy.start.value)
        refused = {each.path.rpartition(".")[2] for each in problems if each.refused}
        expect(refused <= set(ARGUMENTS), "refused what is no argument", problems)
        for problem in problems:
            text = str(problem)
            expect(len(text) < 600 and text.isprintable(), "a problem that cannot be shown", text)
            expect("secret" not in text, "a secret is told", text)
        former = policy


def _value(draws: Draws) -> object:
    kind = draws.below(3)
    if kind == 0:
        return draws.json(2)
    if kind == 1:
        return "".join(draws.choice(_DIGITS) for _ in range(draws.below(30)))
    return draws.text(30)


TARGET = Target(
    "arguments",
    run,
    seeds=(
        *(bytes((0, 0, number, 2, 0, word)) for number in range(10) for word in range(6, 14)),
        *(bytes((0, 0, number, 0, 2, 140)) for number in range(10)),
    ),
    longest=200,
)
