"""Logs and metrics label a channel alike, however they identify it."""

import pytest

from natss.contract.labels import channel_labels, subject_labels
from natss.contract.resources import Channel
from tests.support.channel_ids import channel_id


@pytest.mark.parametrize("epoch", ["", "b0c1", "1"])
@pytest.mark.parametrize("name", ["orders", "orders.created", "a.b.c", "kyma-orders--created"])
def test_a_subject_tells_the_channel(name: str, epoch: str) -> None:
    channel = Channel(channel_id("shop", name), (), epoch=epoch)
    assert subject_labels(channel.subject) == channel_labels(channel.name)
