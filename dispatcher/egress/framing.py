"""Where the body of an answer ends, by its headers (RFC 9112, 6.3). Pure.

The parser finds the end; here are the rules that it leaves to its user.
"""

Headers = list[tuple[bytes, bytes]]

_LENGTH = b"content-length"
_CODING = b"transfer-encoding"
_LENGTH_OF_CODING = len(_CODING)
"""To compare lengths first is quick, and hardly an answer has a name of that one."""


class UnusableHead(Exception):
    """The head of an answer is valid for the parser, but not for us."""


def check_coding(headers: Headers) -> None:
    """Refuse codings that nobody asked for: what the body is, and where it ends, is unclear.

    The parser takes any list with ``chunked`` in its last place, and a tab after that for part of
    another coding.

    Raises:
        UnusableHead: there is one.
    """
    codings = [
        value.strip(b" ").lower()
        for name, value in headers
        if len(name) == _LENGTH_OF_CODING and name.lower() == _CODING
    ]
    if codings and codings not in ([b"chunked"], [b"identity"]):
        raise UnusableHead("its Transfer-Encoding is another than chunked")


def ends_with_connection(headers: Headers) -> bool:
    """Whether the body of an answer that passed ``check_coding`` ends where the connection ends."""
    return not any(
        name.lower() == _LENGTH or (name.lower() == _CODING and b"chunked" in value.lower())
        for name, value in headers
    )


def has_body(headers: Headers) -> bool:
    """Whether they announce a body, which an answer with 204 or 304 has none of."""
    return any(
        name.lower() == _CODING or (name.lower() == _LENGTH and value.strip(b"0"))
        for name, value in headers
    )
