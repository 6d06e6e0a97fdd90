"""The page that shows a person channels and subscriptions at a glance.

Pure: it shows the document of ``/status``, in parts, and needs nothing but a browser.
"""

import html
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeGuard

import orjson

from dispatcher.admin.readiness import Readiness

CONTENT_TYPE = "text/html; charset=utf-8"
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""Content-Security-Policy: the page has no scripts and loads nothing."""

_REFRESH = 5
"""Seconds until the browser reloads."""

_ROWS_AT_ONCE = 50

_COLUMNS = {
    "subscription": "Subscription",
    "state": "State",
    "delivers": "Delivers",
    "durableState": "Durable",
    "inFlight": "In flight",
    "waiting": "Waiting",
    "unsettled": "Unsettled",
    "lastSequence": "Last sequence",
    "settled": "Settled since start",
    "redelivered": "Redelivered",
    "subscriber": "Subscriber",
    "reason": "Reason",
    "lastError": "Last error",
    "lastErrorAt": "at",
}
"""The columns of a subscription, by their names in ``/status``."""

_STYLE = """
body { font: 15px/1.4 system-ui, sans-serif; margin: 2em; color: #222; background: #fff; }
h1 { font-size: 1.4em; } h2 { font-size: 1.1em; margin-top: 1.6em; }
table { border-collapse: collapse; }
th, td { text-align: left; padding: .2em .8em .2em 0; border-bottom: 1px solid #ddd;
  vertical-align: top; }
th { font-weight: 600; }
.bad { color: #a40000; font-weight: 600; }
.channel td { border-bottom: none; padding-top: .8em; font-weight: 600; }
"""

_FINE = frozenset({"active", "open", "standby", "serving", "ready", "yes"})


def parts(status: Mapping[str, object], readiness: Readiness) -> Iterator[str]:
    """Yield the page in parts.

    Args:
        status: The document of ``/status``; missing parts are left out.
        readiness: Whether the dispatcher is ready.
    """
    yield (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="refresh" content="{_REFRESH}">'
        f"<title>natss-dispatcher</title><style>{_STYLE}</style></head><body>\n"
        "<h1>natss-dispatcher</h1>\n"
        '<p><a href="/healthz">healthz</a> · <a href="/readyz">readyz</a> · '
        '<a href="/metrics">metrics</a> · <a href="/status?pretty">status</a></p>\n'
    )
    yield _readiness(readiness)
    yield from _others(status)
    yield from _channels(status.get("channels"))
    yield "</body></html>\n"


def _readiness(readiness: Readiness) -> str:
    shown = "<p>Ready.</p>\n" if readiness.is_ready else ""
    for title, texts in (("Not ready", readiness.reasons), ("Warnings", readiness.warnings)):
        items = "".join(f"<li>{_escaped(text)}</li>" for text in texts)
        shown += f'<p class="bad">{title}:</p><ul>{items}</ul>\n' if items else ""
    return shown


def _others(status: Mapping[str, object]) -> Iterator[str]:
    """Yield what concerns the whole: connections, problems and whatever else there is."""
    for name, value in status.items():
        if name == "channels" or value in ([], {}, None, ""):
            continue
        yield f"<h2>{_escaped(name.capitalize())}</h2>\n<table>"
        if isinstance(value, Mapping):
            for key, of in value.items():
                mark = ' class="bad"' if str(of).startswith("closed") else ""
                yield f"<tr><th>{_escaped(key)}</th><td{mark}>{_escaped(of)}</td></tr>\n"
        else:
            for of in value if isinstance(value, list | tuple) else [value]:
                yield f"<tr><td>{_escaped(of)}</td></tr>\n"
        yield "</table>\n"


def _channels(channels: object) -> Iterator[str]:
    channels = channels if _is_list(channels) else []
    yield f"<h2>Channels ({len(channels)})</h2>\n"
    if not channels:
        yield "<p>There are none.</p>\n"
        return
    yield "<table><tr>"
    yield "".join(f"<th>{_escaped(title)}</th>" for title in _COLUMNS.values())
    yield "</tr>\n"
    rows: list[str] = []
    for channel in channels:
        if isinstance(channel, Mapping):
            rows += _channel(channel)
        if len(rows) >= _ROWS_AT_ONCE:
            yield "".join(rows)
            rows.clear()
    yield "".join(rows)
    yield "</table>\n"


def _channel(channel: Mapping[object, object]) -> Iterator[str]:
    name = f"{channel.get('namespace', '')}/{channel.get('name', '')}"
    about = [_escaped(name), _state(channel.get("state"))]
    hosts = channel.get("hosts")
    if _is_list(hosts):
        about.append(_escaped(", ".join(map(str, hosts))))
    if channel.get("notServed"):
        text = f"{channel['notServed']} subscribers too many: they are not served"
        about.append(f'<span class="bad">{_escaped(text)}</span>')
    published = channel.get("published")
    if isinstance(published, Mapping):
        about += [f"{_escaped(key)} {_escaped(value)}" for key, value in published.items()]
    yield f'<tr class="channel"><td colspan="{len(_COLUMNS)}">{" · ".join(about)}</td></tr>\n'
    subscriptions = channel.get("subscriptions")
    for subscription in subscriptions if _is_list(subscriptions) else []:
        if isinstance(subscription, Mapping):
            cells = "".join(f"<td>{_cell(key, subscription.get(key))}</td>" for key in _COLUMNS)
            yield f"<tr>{cells}</tr>\n"


def _cell(key: str, value: object) -> str:
    return _state(value) if key in ("state", "durableState", "delivers") else _escaped(value)


def _state(value: object) -> str:
    text = _escaped(value)
    return text if not text or text in _FINE else f'<span class="bad">{text}</span>'


def _escaped(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        value = orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode("utf-8")
    return html.escape(value)


def _is_list(value: object) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, Sequence) and not isinstance(value, str)
