import pytest

from natss.kube import (
    AlreadyExists,
    ApiRefusal,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    ServerFailed,
    TooManyRequests,
    Unauthorized,
)
from natss.kube.errors import refusal


def status(reason: str, message: str = "m") -> dict[str, str]:
    return {"kind": "Status", "reason": reason, "message": message}


@pytest.mark.parametrize(
    ("code", "reason", "kind", "retriable"),
    [
        (400, "BadRequest", Invalid, False),
        (401, "Unauthorized", Unauthorized, True),
        (403, "Forbidden", Forbidden, False),
        (404, "NotFound", NotFound, False),
        (405, "MethodNotAllowed", Invalid, False),
        (409, "AlreadyExists", AlreadyExists, False),
        (409, "Conflict", Conflict, True),
        (410, "Expired", Conflict, True),
        (422, "Invalid", Invalid, False),
        (429, "TooManyRequests", TooManyRequests, True),
        (500, "InternalError", ServerFailed, True),
        (504, "Timeout", ServerFailed, True),
    ],
)
def test_each_status_has_its_class(
    code: int, reason: str, kind: type[ApiRefusal], retriable: bool
) -> None:
    error = refusal(code, status(reason), None)
    assert type(error) is kind
    assert error.retriable is retriable
    assert (error.status, error.reason, error.message) == (code, reason, "m")


@pytest.mark.parametrize(
    ("header", "seconds"), [(None, None), ("7", 7.0), ("", None), ("Wed, 21 Oct", None)]
)
def test_the_wait_that_the_server_asks_for_is_kept(
    header: str | None, seconds: float | None
) -> None:
    assert refusal(429, status("TooManyRequests"), header).retry_after == seconds


@pytest.mark.parametrize("body", [None, "text", [1], {"kind": "Pod", "message": "secret"}])
def test_what_is_no_answer_of_the_api_is_not_repeated(body: object) -> None:
    error = refusal(502, body, None)
    assert type(error) is ServerFailed
    assert str(error) == "502 : without explanation"
