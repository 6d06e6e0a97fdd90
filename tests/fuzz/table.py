"""All targets, and the folder with those of their inputs that were worth keeping."""

from pathlib import Path

from tests.fuzz.target import Target
from tests.fuzz.targets import (
    arguments,
    cluster_channels,
    desired_state,
    egress,
    files,
    ingress,
    kube_answers,
    provisioner,
    reviews,
    server_messages,
    stored_form,
    uris,
)

CORPUS = Path(__file__).with_name("corpus")

TARGETS: dict[str, Target] = {
    module.TARGET.name: module.TARGET
    for module in (
        ingress,
        egress,
        stored_form,
        server_messages,
        files,
        desired_state,
        arguments,
        uris,
        cluster_channels,
        provisioner,
        reviews,
        kube_answers,
    )
}


def corpus_of(target: Target) -> Path:
    """Return the folder of its inputs."""
    return CORPUS / target.name
