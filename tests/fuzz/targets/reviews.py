"""Admission reviews, as the Kubernetes API or anybody else may post them.

Whatever is posted: an answer for the same uid, which is JSON, or ``Malformed``; and a refusal gives
its reason.
"""

import base64

import orjson

from natss.contract import eventing
from natss.document import Document
from natss.kube.nesting import cut
from natss_provisioner import reviews
from tests.fuzz.drawing import Draws
from tests.fuzz.objects import WORDS, channel, of_the_api, subscription
from tests.fuzz.target import Target, expect
from tests.support.channel_ids import channel_id

_HOSTS = {channel_id("shop", "other"): "orders-channel-abcdefgh.shop.svc.cluster.local"}


def run(data: bytes) -> None:
    draws = Draws(data, WORDS)
    review = _review(draws)
    cut(review)  # as what is posted is
    path = draws.choice((reviews.VALIDATE, reviews.MUTATE, ""))
    try:
        namespace = reviews.namespace_of_new_channel(review)
        expect(namespace is None or isinstance(namespace, str), "no namespace", namespace)
        answer = reviews.answer(review, path, _HOSTS, "cluster.local")
    except reviews.Malformed as error:
        expect(
            str(error).isprintable() and str(error), "a refusal that cannot be shown", str(error)
        )
        return
    orjson.dumps(answer)
    response = answer["response"]
    expect(response["uid"] == review["request"]["uid"], "an answer to another request", response)
    if not response["allowed"]:
        message = response["status"]["message"]
        expect(message and "secret" not in message, "refused without a reason", message)
        expect(message.isprintable(), "a reason that cannot be shown", message)
    if "patch" in response:
        operations = orjson.loads(base64.b64decode(response["patch"]))
        expect(b"natss" in orjson.dumps(operations), "another provisioner", operations)


def _review(draws: Draws) -> Document:
    kind = draws.choice(("Channel", "Subscription"))
    make = channel if kind == "Channel" else subscription
    request: Document = {
        "uid": "review",
        "kind": {"group": eventing.GROUP, "version": eventing.VERSION, "kind": kind},
        "operation": draws.choice(("CREATE", "UPDATE")),
        "namespace": "shop",
        "object": of_the_api(draws, make()),
    }
    if request["operation"] == "UPDATE":
        request["oldObject"] = of_the_api(draws, make())
    elif draws.flag():
        metadata = request["object"]["metadata"]
        del metadata["name"]
        metadata["generateName"] = draws.choice(("orders-", "o" * 60, "Orders "))
    if draws.below(4) == 3:
        request[draws.choice(tuple(request))] = draws.json()
    return {"request": request if draws.below(16) < 15 else draws.json()}


TARGET = Target(
    "reviews",
    run,
    seeds=(bytes(20), bytes((1, 0, 2, 0, 9, 2, 5, 1, 1)), bytes((0, 0, 1, 0, 3, 0, 0, 0, 0, 1))),
    longest=400,
)
