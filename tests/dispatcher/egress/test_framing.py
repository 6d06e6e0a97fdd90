"""Where the body of an answer ends, by its headers."""

import pytest

from dispatcher.egress.framing import (
    Headers,
    UnusableHead,
    check_coding,
    ends_with_connection,
    has_body,
)

LENGTH = (b"Content-Length", b"5")
NO_LENGTH = (b"content-length", b"00")
CHUNKED = (b"Transfer-Encoding", b" Chunked ")
IDENTITY = (b"transfer-encoding", b"identity")
OTHER = (b"Content-Type-Other", b"chunked")


@pytest.mark.parametrize(
    ("headers", "is_until_close", "announces_a_body"),
    [
        ([], True, False),
        ([OTHER], True, False),
        ([LENGTH], False, True),
        ([NO_LENGTH], False, False),
        ([CHUNKED], False, True),
        ([IDENTITY], True, True),
        ([IDENTITY, LENGTH], False, True),
    ],
)
def test_an_end_that_is_clear(
    headers: Headers, is_until_close: bool, announces_a_body: bool
) -> None:
    check_coding(headers)
    assert ends_with_connection(headers) == is_until_close
    assert has_body(headers) == announces_a_body


@pytest.mark.parametrize(
    "headers",
    [
        [CHUNKED, CHUNKED],
        [CHUNKED, IDENTITY],
        [IDENTITY, IDENTITY],
        *([(b"Transfer-Encoding", value)] for value in (b"", b"gzip, chunked", b"\tchunked")),
    ],
)
def test_codings_that_nobody_asked_for(headers: Headers) -> None:
    with pytest.raises(UnusableHead, match="another than chunked"):
        check_coding(headers)
