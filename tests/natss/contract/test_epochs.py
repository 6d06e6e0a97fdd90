"""The epoch of a channel: where it is read, and that no other channel has its subject."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from natss.contract.names import (
    EPOCH_ANNOTATION,
    MAX_SUBJECT,
    channel_subject,
    epoch_of,
    is_dns_label,
    is_epoch,
)
from natss.nats_streaming.names import check_channel
from tests.natss.contract.test_desired_state import CHANNEL, ORDERS, good, read
from tests.natss.contract.test_names import PLACE

EPOCH = st.from_regex(r"[a-z0-9]{1,32}", fullmatch=True)


def written(epoch: str) -> str:
    """Return the channel with an epoch."""
    annotations = f"annotations: {{{EPOCH_ANNOTATION}: {epoch}}}"
    return CHANNEL.replace("namespace: shop}", f"namespace: shop, {annotations}}}")


def test_it_is_read_from_an_annotation() -> None:
    assert good(CHANNEL)[ORDERS].subject == "orders.shop"
    assert good(written("e1"))[ORDERS].subject == "orders.shop._e1"
    assert good(written("''"))[ORDERS].subject == "orders.shop"


@pytest.mark.parametrize("epoch", ["E1", "a.b", "'*'", "'>'", "a-b", "_a", "x" * 33, "'a b'", "[]"])
def test_another_text_is_refused_and_the_channel_stays_as_it_was(epoch: str) -> None:
    before = read(written("e1"))
    after = read(written(epoch), previous=before)
    assert after.channels == before.channels
    assert EPOCH_ANNOTATION in after.problems[0].path
    assert after.problems[0].refused
    assert read(written(epoch)).channels == {}


def test_the_subject_must_fit_with_it() -> None:
    name = f"{'a' * 60}.{'b' * 60}.{'c' * 60}.{'d' * 50}"
    text = written(epoch_of("u")).replace("name: orders", f"name: {name}")
    (problem,) = read(text).problems
    assert "must not pass 236 characters" in problem.message
    (channel,) = good(text.replace(name, name[:-1])).values()
    assert len(channel.subject) == MAX_SUBJECT


@given(PLACE, PLACE, EPOCH)
def test_no_channel_without_one_has_that_subject(
    one: tuple[str, str], other: tuple[str, str], epoch: str
) -> None:
    """A tenant may give a namespace the name of any epoch."""
    subject = channel_subject(*one, epoch)
    assert subject != channel_subject(*other)
    assert not is_dns_label(subject.rpartition(".")[2])
    check_channel(subject)


@given(PLACE, PLACE, EPOCH, EPOCH)
def test_different_channels_or_epochs_have_different_subjects(
    one: tuple[str, str], other: tuple[str, str], its: str, others: str
) -> None:
    same = (one, its) == (other, others)
    assert (channel_subject(*one, its) == channel_subject(*other, others)) == same


def test_a_new_channel_has_one_that_tells_nothing_of_its_uid() -> None:
    uid = "0b9e6a8c-7b1b-4c53-9c6a-0d3c1f6d2f11"
    assert is_epoch(epoch_of(uid))
    assert epoch_of(uid) == epoch_of(uid) != epoch_of(uid[:-1] + "2")
    assert uid[:8] not in epoch_of(uid)
