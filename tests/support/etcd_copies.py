"""Many objects in a second: copies of a few existing ones, written straight into etcd.

The API server sees what is in etcd, whoever wrote it; through the API server 5,000 objects take a
minute.
"""

import base64
import json
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from tests.support.kubernetes import KubernetesServer

_OPERATIONS = 100
"""In one transaction; etcd accepts 128."""

Renaming = Mapping[str, str]
"""From each text of the original to one of the same length: objects may be stored as protobuf."""


def copy(kubernetes: KubernetesServer, keys: Iterable[str], renamings: Iterable[Renaming]) -> None:
    """Store each object under ``/registry/<key>`` once more for each renaming, key included."""
    originals = {key: _get(kubernetes, key) for key in keys}
    operations = _copies(originals, renamings)
    while batch := list(islice(operations, _OPERATIONS)):
        _post(kubernetes, "txn", {"success": batch})


def _copies(
    originals: Mapping[str, bytes], renamings: Iterable[Renaming]
) -> Iterator[dict[str, Any]]:
    for renaming in renamings:
        for key, value in originals.items():
            name, copied = key.encode(), value
            for before, after in renaming.items():
                assert len(before) == len(after), (before, after)
                name = name.replace(before.encode(), after.encode())
                copied = copied.replace(before.encode(), after.encode())
            yield {"request_put": {"key": _text(b"/registry/" + name), "value": _text(copied)}}


def _get(kubernetes: KubernetesServer, key: str) -> bytes:
    answer = _post(kubernetes, "range", {"key": _text(f"/registry/{key}".encode())})
    (found,) = answer["kvs"]
    return base64.b64decode(found["value"])


def _post(kubernetes: KubernetesServer, method: str, body: object) -> Any:
    request = urllib.request.Request(
        f"{kubernetes.etcd_url}/v3/kv/{method}", json.dumps(body).encode()
    )
    with urllib.request.urlopen(request, timeout=20) as response:
        return json.load(response)


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
