"""Runs one target under atheris, guided by which code of the product its inputs reach.

``python -m tests.fuzz.engine TARGET [flags and folders of libFuzzer]``. The flags say how long, and
where inputs come from and go to; see ``__main__``.
"""

import importlib
import sys

import atheris

from tests.fuzz.target import Target, quiet

_NAME = "tests.fuzz.engine"
_PACKAGES = [
    "contract", "dispatcher", "kube", "nats_streaming", "natss_provisioner", "process",
]  # fmt: skip


def main() -> None:
    """Run until libFuzzer ends the process: with status 0, or with another at a defect."""
    name, *arguments = sys.argv[1:]
    with atheris.instrument_imports(include=_PACKAGES):
        target: Target = importlib.import_module(f"tests.fuzz.targets.{name}").TARGET
    itself = f"{sys.executable} -m {_NAME} {name}"  # libFuzzer has a shell run it to merge inputs
    with quiet():
        atheris.Setup([itself, *arguments], target.run)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
