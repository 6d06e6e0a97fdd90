"""Where the body of an answer ends, by its headers (RFC 9112, 6.3). Pure.

The parser finds the end; this module has the rules that it leaves to its user.
"""

Headers = list[tuple[bytes, bytes]]

_LENGTH = b"content-length"
_CODING = b"transfer-encoding"
_LENGTH_OF_CODING = len(_CODING)
"""Comparing lengths first is fast, and hardly any answer has a header name of that length."""


class UnusableHead(Exception):
    """The head of an answer is valid for the parser, but cannot be used here."""


def check_coding(headers: Headers) -> None:
    """Refuse codings that were not requested: what the body is, and where it ends, is unclear.

    The parser accepts any list that ends with ``chunked``, and reads a tab after that as part of
    another coding.

    Raises:
        UnusableHead: there is such a coding.
    """
    codings = [
        value.strip(b" ").lower()
        for name, value in headers
        if len(name) == _LENGTH_OF_CODING and name.lower() == _CODING
    ]
    if codings and codings not in ([b"chunked"], [b"identity"]):
        raise UnusableHead("its Transfer-Encoding is another than chunked")


def ends_with_connection(headers: Headers) -> bool:
    """Return whether the body of a checked answer ends where the connection ends.

    The answer has passed ``check_coding``.
    """
    return not any(
        name.lower() == _LENGTH or (name.lower() == _CODING and b"chunked" in value.lower())
        for name, value in headers
    )


def has_body(headers: Headers) -> bool:
    """Return whether the headers announce a body, which an answer with 204 or 304 never has."""
    return any(
        name.lower() == _CODING or (name.lower() == _LENGTH and value.strip(b"0"))
        for name, value in headers
    )
