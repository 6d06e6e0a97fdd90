"""Secrets that can be told apart, for every place where one may stand, and the search for them."""

import base64
import secrets
from collections.abc import Iterator, Mapping


class Marks:
    """Makes secrets, and finds them again in whatever a program lets out."""

    def __init__(self) -> None:
        self._places: dict[str, str] = {}

    def new(self, place: str) -> str:
        """Return a secret for a place, such as ``password of NATS``; it is letters and digits."""
        secret = f"s3cret{secrets.token_hex(8)}"
        self._places[secret] = place
        return secret

    def add(self, place: str, secret: str) -> None:
        """Search for a secret that was made elsewhere."""
        self._places[secret] = place

    def uri(self, place: str, rest: str) -> str:
        """Return ``http://`` with user, password and a token in the query around the rest."""
        password, token = (self.new(f"{part} of the {place}") for part in ("password", "query"))
        scheme, _, host = rest.rpartition("://")
        return f"{scheme or 'http'}://user:{password}@{host}?token={token}"

    def found(self, texts: Mapping[str, str]) -> list[str]:
        """Return which secret stands in which of the texts, plain or in base64; for people."""
        return [
            f"{place} in {name}"
            for secret, place in self._places.items()
            for name, text in texts.items()
            if any(form in text for form in _forms(secret))
        ]


def _forms(secret: str) -> Iterator[str]:
    """Yield a secret, and its forms in base64 wherever it stands in a longer text."""
    yield secret
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + secret.encode()).decode()
        yield encoded[(0, 2, 3)[before] : len(encoded) // 4 * 4 - 4]
