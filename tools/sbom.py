"""Writes what is installed in the image as a bill of materials: CycloneDX 1.6, JSON.

``python -m tools.sbom /opt/natss-channel requirements.txt /wheels`` prints it, while the image is
built. What is not pinned, or is not what was pinned, is an error. The same input gives the same
bytes, so there is no time and no random number in it. The base image has its own contents, which
are not told here.
"""

import argparse
import hashlib
import re
import sys
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.requirements import Requirement

from tools.cache import ToolError

PROJECT = "natss-channel"
LICENSES = LicenseFactory()
_PIN = re.compile(r"^([\w.-]+)==(\S+)((?:.*\n(?=[ \t]))*.*)", re.MULTILINE)
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Pin:
    """What the lock file says of one distribution."""

    version: str
    hashes: frozenset[str]
    """SHA-256 of every file that may be taken: wheels, and the source."""


def main() -> int:
    """Run the command line; return 1 if something is installed that is not pinned."""
    parser = argparse.ArgumentParser(prog="python -m tools.sbom", description=__doc__)
    parser.add_argument("environment", type=Path, help="a virtual environment")
    parser.add_argument("lock", type=Path, help="requirements with hashes")
    parser.add_argument("wheels", type=Path, help="the folder that was installed from")
    arguments = parser.parse_args()
    (packages,) = arguments.environment.glob("lib/python3*/site-packages")
    try:
        print(bill(distributions(path=[str(packages)]), arguments.lock, arguments.wheels))
    except ToolError as error:
        print(f"tools: {error}", file=sys.stderr)
        return 1
    return 0


def bill(installed: Iterable[Distribution], lock: Path, wheels: Path) -> str:
    """Return the bill of materials.

    Args:
        installed: The project itself and what it needs, from one place.
        lock: Pins all but the project.
        wheels: The installed wheels; one that the lock does not know was built from the pinned
            source.

    Raises:
        ToolError: something is not pinned, or is another version than the pinned one.
    """
    found = {canonical(each.name): each for each in installed}
    project = found.pop(PROJECT)
    pins = read_lock(lock.read_text())
    taken = {hashlib.sha256(each.read_bytes()).hexdigest() for each in wheels.glob("*.whl")}
    components = {
        name: _component(each, ComponentType.LIBRARY, _hash(name, each, pins, taken))
        for name, each in sorted(found.items())
    }
    bom = Bom(components=components.values())
    root = _component(project, ComponentType.APPLICATION, None)
    bom.metadata.component = root
    for name, component in {PROJECT: root, **components}.items():
        needed = _needed(project if name == PROJECT else found[name])
        bom.register_dependency(component, [components[each] for each in needed & found.keys()])
    bom.metadata.timestamp = None  # type: ignore[assignment] # it would change with each build
    bom.serial_number = _serial_number([root, *components.values()])
    return JsonV1Dot6(bom).output_as_string(indent=1)


def read_lock(text: str) -> Mapping[str, Pin]:
    """Return the pins of a requirements file by canonical name."""
    return {
        canonical(name): Pin(version, frozenset(_HASH.findall(rest)))
        for name, version, rest in _PIN.findall(text)
    }


def canonical(name: str) -> str:
    """Return a name in the form in which registries compare names (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _hash(name: str, installed: Distribution, pins: Mapping[str, Pin], taken: set[str]) -> str:
    """Return the hash of the installed file, or of the source that it was built from."""
    pin = pins.get(name)
    if pin is None:
        raise ToolError(f"{name} is installed and not pinned")
    if pin.version != installed.version:
        raise ToolError(f"{name} is pinned at {pin.version}, and {installed.version} is installed")
    candidates = pin.hashes & taken or pin.hashes
    if len(candidates) != 1:
        raise ToolError(f"none of the files that are pinned for {name} was installed")
    return next(iter(candidates))


def _component(installed: Distribution, kind: ComponentType, sha256: str | None) -> Component:
    name = canonical(installed.name)
    registry = "generic" if kind is ComponentType.APPLICATION else "pypi"
    purl = PackageURL(registry, name=name, version=installed.version)
    metadata = installed.metadata
    licensed = "License-Expression" in metadata
    return Component(
        type=kind,
        name=name,
        version=installed.version,
        bom_ref=str(purl),
        purl=purl,
        licenses=[LICENSES.make_from_string(metadata["License-Expression"])] if licensed else (),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=sha256)] if sha256 else (),
    )


def _needed(installed: Distribution) -> set[str]:
    """Return the names of what it may need here, whichever of its extras are requested."""
    extras = ["", *(installed.metadata.get_all("Provides-Extra") or ())]
    requirements = map(Requirement, installed.requires or ())
    return {
        canonical(each.name)
        for each in requirements
        if each.marker is None or any(each.marker.evaluate({"extra": extra}) for extra in extras)
    }


def _serial_number(components: Iterable[Component]) -> uuid.UUID:
    """Return a number that is the same for the same contents (RFC 9562, 5.5)."""
    contents = [f"{each.bom_ref.value} {[h.content for h in each.hashes]}" for each in components]
    return uuid.uuid5(uuid.NAMESPACE_URL, "\n".join(contents))


if __name__ == "__main__":
    sys.exit(main())
