"""This module says which distributions a bundle needs, pinned to the versions that are installed where it is saved."""

from __future__ import annotations

import importlib.metadata
import logging
from collections.abc import Iterable

from bentobatch.bundle.origins import OWN_DISTRIBUTION, OWN_NAMES, distributions_by_module, origin_of
from bentobatch.service.environment import distribution_of

_log = logging.getLogger("bentobatch.bundle")


def inferred_requirements(*, needed: Iterable[str] = (), imported: Iterable[str] = (), own: str) -> list[str]:
    """One pinned requirement for each distribution: bentobatch's ``own`` first, the others by name.

    ``needed``: distributions that artifacts and adapters ask for. ``imported``: dotted names of modules that the code
    and the pickles of the models use.
    """
    asked = {found for name in needed for found in _provided(name)} | owners(imported)
    names = sorted({distribution_of(found) for found in asked} - {OWN_DISTRIBUTION})
    return [own, *map(pinned, names)]


def owners(modules: Iterable[str]) -> set[str]:
    """The names of the distributions that own the modules of these dotted names; Python's own and local ones have none.

    A module that is installed without a distribution is told in a warning, since nothing can pin it.
    """
    by_top = distributions_by_module()
    parts: dict[str, set[str]] = {}
    for name in modules:
        parts.setdefault(name.partition(".")[0], set()).add(name)
    found: set[str] = set()
    for top in sorted(parts.keys() - OWN_NAMES):
        if origin_of(top) in ("standard", "missing"):
            continue
        candidates = set(by_top.get(top, ()))
        if not candidates and origin_of(top) == "installed":
            _log.warning("module %r is installed, but by no distribution: add its package to pip_packages", top)
        found |= candidates if len(candidates) < 2 else _owners_of(parts[top], candidates) or candidates
    return found


def pinned(distribution: str) -> str:
    """``name==version`` as installed here; the bare name of what is not. A local version (+cpu) is no part of the pin,
    since indexes do not have it."""
    try:
        metadata = importlib.metadata.distribution(distribution).metadata
    except importlib.metadata.PackageNotFoundError:
        return distribution
    return f"{metadata['Name']}=={str(metadata['Version']).partition('+')[0]}"


def _provided(distribution: str) -> set[str]:
    """``distribution``, or what stands in for it here, such as xgboost-cpu for xgboost: the same module by its name."""
    try:
        importlib.metadata.distribution(distribution)
    except importlib.metadata.PackageNotFoundError:
        module = distribution_of(distribution).replace("-", "_")
        return set(distributions_by_module().get(module, ())) or {distribution}
    return {distribution}


def _owners_of(modules: Iterable[str], candidates: Iterable[str]) -> set[str]:
    """Of several distributions that share a namespace package, those that own one of the very modules.

    ``from google.cloud import storage`` asks for ``google.cloud.storage``, which one has, and for ``google.cloud``,
    which is nobody's.
    """
    paths = [module.replace(".", "/") for module in modules]
    wanted = tuple(f"{path}{end}" for path in paths for end in ("/__init__.", "."))
    return {
        name
        for name in candidates
        if any(str(file).startswith(wanted) for file in importlib.metadata.files(name) or ())
    }
