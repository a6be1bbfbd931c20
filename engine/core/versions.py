"""Versions of workflow types: those that a process hosts, and the one that a new run takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b
from typing import Protocol, TypeVar

from penstock.schemas.values.shares import SHARE_ALL


class Versioned(Protocol):
    """What has a name and a version: a workflow type."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> int: ...


V = TypeVar("V", bound=Versioned)


class WorkflowTypes(Mapping[str, V]):
    """Workflow types, each in one version or several. As a mapping: the highest version by name."""

    def __init__(self, definitions: Iterable[V] = ()) -> None:
        self._versions: dict[str, dict[int, V]] = {}
        for definition in definitions:
            self.add(definition)

    def add(self, definition: V) -> None:
        """Add a definition, in the place of one with its name and version."""
        self._versions.setdefault(definition.name, {})[definition.version] = definition

    def remove(self, name: str) -> None:
        """Remove all versions of a type. Raises KeyError."""
        del self._versions[name]

    def copied(self) -> WorkflowTypes[V]:
        """A copy, to which later definitions are not added."""
        return WorkflowTypes(definition for versions in self._versions.values() for definition in versions.values())

    def of(self, name: str) -> Mapping[int, V]:
        """The definitions of a type by version; empty for an unknown one."""
        return self._versions.get(name, {})

    def __getitem__(self, name: str) -> V:
        versions = self._versions[name]
        return versions[max(versions)]

    def __iter__(self) -> Iterator[str]:
        return iter(self._versions)

    def __len__(self) -> int:
        return len(self._versions)


def versions_of(workflows: Mapping[str, V], name: str) -> Mapping[int, V]:
    """The definitions of a type by version. `workflows`: WorkflowTypes, or one definition by name."""
    if isinstance(workflows, WorkflowTypes):
        return workflows.of(name)
    definition = workflows.get(name)
    return {} if definition is None else {definition.version: definition}


def chosen(name: str, versions: Iterable[int], workflow_id: str, shares: Mapping[int, int]) -> int:
    """The version that a new run takes: from the highest down, each takes its share of the runs that are left.

    `shares`: of versions, in ten-thousandths; one without a share takes all of them. Which runs a version takes follows
    from a hash of type, version and workflow id, so a larger share takes the same runs and more. What no share takes
    goes to the lowest version."""
    ordered = sorted(versions, reverse=True)
    for version in ordered[:-1]:
        share = shares.get(version, SHARE_ALL)
        if share == SHARE_ALL or _place(name, version, workflow_id) < share:
            return version
    return ordered[-1]


def takeable(versions: Iterable[int], shares: Mapping[int, int]) -> list[int]:
    """The versions that new runs may take, from the highest down. `shares`: as for `chosen`."""
    ordered = sorted(versions, reverse=True)
    found: list[int] = []
    for version in ordered[:-1]:
        share = shares.get(version, SHARE_ALL)
        if share:
            found.append(version)
        if share == SHARE_ALL:
            return found
    return [*found, ordered[-1]]


def _place(name: str, version: int, workflow_id: str) -> int:
    """A number from 0 to SHARE_ALL - 1."""
    digest = blake2b(f"{name}\x00{version}\x00{workflow_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") * SHARE_ALL >> 64


def listed(versions: Iterable[int]) -> str:
    """Versions as a message names them."""
    return ", ".join(map(str, sorted(versions))) or "none"
