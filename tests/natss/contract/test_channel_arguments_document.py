"""``docs/channel-arguments.md`` says what the code does."""

import re
from typing import Any

import pytest
import yaml

from natss.contract.arguments import ARGUMENTS, parse_arguments
from natss.contract.documents import desired_state
from natss.contract.resources import Defaults, DeliveryPolicy
from tests.support.repository import ROOT

TEXT = (ROOT / "docs" / "channel-arguments.md").read_text()
EXAMPLES = re.findall(r"^```yaml\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 5


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_is_a_channel_without_mistakes(example: str) -> None:
    documents: list[Any] = list(yaml.load_all(example, Loader=yaml.BaseLoader))
    typed = yaml.safe_load(example)
    start = documents[0]["spec"]["arguments"].get("start")
    if start is not None:  # the reader of files creates no dates
        typed["spec"]["arguments"]["start"] = start
    state = desired_state([("", typed)])
    assert state.problems == ()
    (channel,) = state.channels.values()
    assert channel.policy != DeliveryPolicy()


def test_the_table_has_every_argument_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| .*? \| (`\w+`|none) \|", TEXT, re.MULTILINE))
    policy = DeliveryPolicy()
    assert {key: default.strip("`") for key, default in rows.items()} == {
        key: argument.show(getattr(policy, argument.field)) for key, argument in ARGUMENTS.items()
    }


def test_the_mistakes_are_told_as_shown() -> None:
    _, problems = parse_arguments(
        {"maxInFlight": 5, "retry": -1}, "Channel shop/orders", "shop", Defaults()
    )
    place = "Channel shop/orders (channels.yaml, line 12)"
    for problem in problems:
        assert str(problem).replace("Channel shop/orders", place) in TEXT
