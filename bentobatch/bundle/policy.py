"""This module says which bundles may be run on this machine: the policy file, which every loading of a bundle passes.

The file that BENTOBATCH_POLICY or the configuration names is YAML. A bundle may run when one of the rules under
``allow`` holds for it, with all that the rule says; where there is a policy and no rule holds, nothing of it runs::

    keys:
      release: ed25519:…            # the line in the key's .pub file
    allow:
      - signer: release             # or several: [release, laptop]
        name: "Iris*"               # of the service, with * and ?; "Iris:2026*" for the tag
      - digest: sha256:…
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bentobatch.bundle.manifest import Manifest
from bentobatch.bundle.signatures import check_public_key, read_signatures, signers
from bentobatch.errors import PolicyError, UsageError
from bentobatch.settings import read_settings

_MOST_BYTES = 1 << 20
_DIGEST = re.compile(r"(?:sha256:)?([0-9a-fA-F]{64})")


@dataclass(frozen=True)
class Rule:
    """What must hold for a bundle, all of it; None and an empty set ask for nothing.

    ``name`` is a pattern for the service's name, or with a colon in it for the tag; ``digest`` is hex,
    ``keys`` are public keys, one of which must have signed.
    """

    name: str | None = None
    digest: str | None = None
    keys: frozenset[str] = frozenset()

    def allows(self, manifest: Manifest, signed_by: set[str]) -> bool:
        """Whether it holds for the bundle of this manifest that these keys have signed."""
        if self.name is not None:
            named = manifest.tag if ":" in self.name else manifest.service_name
            if not fnmatch.fnmatchcase(named, self.name):
                return False
        return self.digest in (None, manifest.digest) and (not self.keys or not self.keys.isdisjoint(signed_by))


@dataclass(frozen=True)
class Policy:
    """The rules of one policy file."""

    file: str
    rules: tuple[Rule, ...]

    def check(self, root: Path, manifest: Manifest) -> None:
        """Pass, if the bundle at ``root`` may run here. Its files are somebody else's to compare with the manifest.

        Raises:
            PolicyError: it may not.
        """
        plain = [rule for rule in self.rules if not rule.keys]
        if any(rule.allows(manifest, set()) for rule in plain):
            return
        signed_by = signers(read_signatures(root), manifest.digest) if len(plain) < len(self.rules) else set()
        if any(rule.allows(manifest, signed_by) for rule in self.rules):
            return
        by = f"signed by {', '.join(sorted(signed_by))}" if signed_by else "signed by no known key"
        raise PolicyError(
            f"the policy {self.file!r} does not let {manifest.tag} run here (sha256:{manifest.digest}, {by}): "
            "sign it with a key that the policy names, or add a rule for it"
        )


def check_policy(root: Path, manifest: Manifest) -> None:
    """Pass, if the policy of this machine lets the bundle at ``root`` run, or there is none.

    Raises:
        PolicyError: it does not.
        UsageError: the policy file cannot be read, or is malformed: then nothing may run.
    """
    policy = read_policy()
    if policy is not None:
        policy.check(root, manifest)


def read_policy() -> Policy | None:
    """The policy that the settings name, None where they name none.

    Raises: UsageError, as ``check_policy``.
    """
    file = read_settings().policy
    if file is None:
        return None
    try:
        with Path(file).expanduser().open("rb") as stream:
            data = stream.read(_MOST_BYTES + 1)
        content = yaml.safe_load(data) if len(data) <= _MOST_BYTES else None
    except OSError as error:
        raise UsageError(f"the policy {file!r} cannot be read ({error.strerror}), so no bundle may run") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UsageError(f"the policy {file!r} is no YAML, so no bundle may run: {_line(error)}") from error
    return parse_policy(content, file)


def parse_policy(content: Any, file: str) -> Policy:
    """The policy in a YAML document; ``file`` names it in messages.

    Raises: UsageError, as ``check_policy``.
    """
    where = f"the policy {file!r}"
    content = _mapping(content, {"keys", "allow"}, where)
    names = content.get("keys") or {}
    if not isinstance(names, dict):
        raise UsageError(f"{where}: its keys are no list of `name: ed25519:…`")
    keys = {str(name): check_public_key(key, where=f"{where}, key {str(name)!r}") for name, key in names.items()}
    rules = content.get("allow")
    if not isinstance(rules, list):
        raise UsageError(f"{where}: it has no list `allow` of rules; an empty one, [], allows nothing")
    return Policy(file, tuple(_rule(rule, keys, where) for rule in rules))


def _rule(rule: Any, keys: Mapping[str, str], where: str) -> Rule:
    rule = _mapping(rule, {"name", "digest", "signer"}, f"{where}, a rule of allow")
    if not rule:
        raise UsageError(f"{where}: a rule says nothing; to allow every bundle, write name: '*'")
    for key in ("name", "digest"):
        if key in rule and not isinstance(rule[key], str):
            raise UsageError(f"{where}: {key} {rule[key]!r} is no text; put it into quotes")
    digest = _DIGEST.fullmatch(rule["digest"]) if "digest" in rule else None
    if "digest" in rule and digest is None:
        raise UsageError(f"{where}: {rule['digest'][:80]!r} is no digest of 64 hexadecimal digits")
    wanted = rule.get("signer", [])
    wanted = [wanted] if isinstance(wanted, str) else wanted
    if not isinstance(wanted, list) or ("signer" in rule and not wanted):
        raise UsageError(f"{where}: a rule's signer is no name of a key, nor a list of names")
    for name in wanted:
        if name not in keys:
            raise UsageError(f"{where}: a rule asks for the signer {str(name)!r}, which is not among its keys")
    return Rule(
        rule.get("name"), None if digest is None else digest[1].lower(), frozenset(keys[name] for name in wanted)
    )


def _mapping(value: Any, known: set[str], where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UsageError(f"{where}: it is no mapping of {', '.join(sorted(known))}")
    unknown = sorted(str(key) for key in value if key not in known)
    if unknown:
        raise UsageError(f"{where}: {unknown[0][:80]!r} is unknown; known are {', '.join(sorted(known))}")
    return value


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
