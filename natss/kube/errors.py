"""Why a request to the Kubernetes API failed: one class for each decision of a caller.

``retriable`` says whether the same request may succeed later without anybody changing anything.
"""

from collections.abc import Mapping
from typing import Any, ClassVar


class KubeError(Exception):
    """Any failure of a request."""

    retriable: ClassVar[bool] = False


class LoginFailed(KubeError):
    """There are no usable credentials; the text says where they were searched for."""

    retriable = True


class InvalidName(KubeError):
    """A name that no Kubernetes object can have; no request was made.

    In the path of a request such a text could address another object, or make another request.
    """


class Unreachable(KubeError):
    """No answer: refused, broken or too slow. Whether a write took effect is unknown."""

    retriable = True


class ApiRefusal(KubeError):
    """The API server answered with an error.

    Attributes:
        status: The HTTP status.
        reason: One word of the API, such as ``AlreadyExists``; may be empty.
        retry_after: How many seconds the server asks the client to wait; None if it does not.
    """

    def __init__(
        self, status: int, reason: str, message: str, retry_after: float | None = None
    ) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after = retry_after


class Unauthorized(ApiRefusal):
    """The credentials are not accepted, nor are those of a new login."""

    retriable = True


class Forbidden(ApiRefusal):
    """The account may not do this; or the namespace is being deleted."""


class NotFound(ApiRefusal):
    """No such object; or no such resource, because its definition is not installed."""


class AlreadyExists(ApiRefusal):
    """An object of that name exists already."""


class Conflict(ApiRefusal):
    """The object has changed since the request was prepared: read it again."""

    retriable = True


class Invalid(ApiRefusal):
    """The request is malformed, or the object breaks a rule of its kind."""


class TooManyRequests(ApiRefusal):
    """The server is busy; see ``retry_after``."""

    retriable = True


class ServerFailed(ApiRefusal):
    """5xx, or an answer that is not the API's."""

    retriable = True


_BY_STATUS: Mapping[int, type[ApiRefusal]] = {
    400: Invalid,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Conflict,
    422: Invalid,
    429: TooManyRequests,
}


def refusal(status: int, body: object, retry_after: str | None) -> ApiRefusal:
    """Return the error for an answer of 400 or more.

    Args:
        status: The HTTP status.
        body: The decoded body; normally a ``Status`` object.
        retry_after: The header, in seconds, as the API server writes it.
    """
    details: Mapping[str, Any] = {}
    if isinstance(body, Mapping) and body.get("kind") == "Status":
        details = body
    reason = str(details.get("reason") or "")
    message = str(details.get("message") or "without explanation")
    kind = _BY_STATUS.get(status, ServerFailed if status >= 500 else Invalid)
    if status == 409 and reason == "AlreadyExists":
        kind = AlreadyExists
    try:
        seconds = float(retry_after) if retry_after else None
    except ValueError:
        seconds = None
    return kind(status, reason, message, seconds)
