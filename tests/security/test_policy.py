"""This module tests that a policy decides over every way to run a bundle, and that signatures cannot be talked into it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest

import bentobatch
from bentobatch.bundle.layout import SIGNATURES
from bentobatch.bundle.manifest import read_manifest
from bentobatch.bundle.policy import check_policy, parse_policy
from bentobatch.bundle.signatures import make_key, read_signatures, sign, signers
from bentobatch.cli.main import main
from bentobatch.errors import BundleError, OutputError, PolicyError, UsageError
from bentobatch.repository.local import LocalRepository, resolve
from tests.bundle.packing import packed
from tests.bundle.services import save_service

Policy = Callable[[str], None]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENTOBATCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return save_service(tmp_path / "p", tmp_path / "home" / "repository" / "Scorer" / "v1")


@pytest.fixture
def policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Policy:
    """Makes a text the policy."""
    file = tmp_path / "policy.yml"

    def make(text: str) -> None:
        file.write_text(text)
        monkeypatch.setenv("BENTOBATCH_POLICY", str(file))

    return make


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, str]:
    return {name: make_key(tmp_path / name) for name in ("release", "other")}


def runs(bundle: Path, tmp_path: Path) -> bool:
    """Whether the bundle runs, in every way that there is; all agree."""
    ways = {
        "load": lambda: bentobatch.load(str(bundle)),
        "load by tag": lambda: bentobatch.load("Scorer:latest"),
        "run": lambda: bentobatch.run(
            str(bundle), input="[1]", output_file=str(tmp_path / "out.jsonl"), overwrite=True
        ),
        "retrieve": lambda: LocalRepository().retrieve("Scorer:v1", tmp_path / "copy"),
        "pull": lambda: LocalRepository().pull("Scorer:v1", LocalRepository(tmp_path / "elsewhere")),
    }
    answers = {}
    for name, way in ways.items():
        try:
            way()
            answers[name] = True
        except PolicyError:
            answers[name] = False
        except OutputError:  # the copy of an earlier call
            answers[name] = True
    assert len(set(answers.values())) == 1, answers
    return answers["load"]


def test_only_what_a_rule_allows_runs(bundle: Path, policy: Policy, keys: dict[str, str], tmp_path: Path) -> None:
    """By name, tag, digest and signer, each way to run a bundle."""
    digest = read_manifest(bundle).digest
    names = f"keys: {{release: '{keys['release']}', other: '{keys['other']}'}}\n"
    for allowed, rules in (
        (False, "[]"),
        (False, "[{name: 'Iris*'}]"),
        (False, f"[{{digest: 'sha256:{'0' * 64}'}}]"),
        (False, f"[{{digest: {digest}, name: Iris}}]"),
        (False, "[{name: 'Scorer:v2*'}]"),
        (False, "[{signer: release}]"),
    ):
        policy(f"{names}allow: {rules}")
        assert runs(bundle, tmp_path) is allowed, rules
    sign(bundle, tmp_path / "other")
    policy(f"{names}allow: [{{signer: release}}]")
    assert not runs(bundle, tmp_path)
    sign(bundle, tmp_path / "release")
    for rules in ("[{signer: release}]", "[{signer: [other]}]", f"[{{name: x}}, {{digest: 'sha256:{digest.upper()}'}}]",
                  "[{name: 'Sc?rer'}]", "[{name: 'Scorer:v*', signer: [release, other]}]", "[{name: '*'}]"):  # fmt: skip
        policy(f"{names}allow: {rules}")
        assert runs(bundle, tmp_path), rules


def test_nothing_of_a_refused_bundle_runs(tmp_path: Path, policy: Policy, home: Path, capfd) -> None:
    """Not even in the process that reads it to plan; the command line says it in one line, exit 65."""
    canary = tmp_path / "canary"
    bundle = save_service(tmp_path / "p", home / "repository/Scorer/v1", helper_py="WHO = 1\nclass Thing: pass\n")
    service = bundle / "Scorer" / "helper.py"
    assert service.is_file()
    policy("allow: []")
    for words in (["run", "Scorer:v1", "--input", "1"], ["verify", "Scorer:v1"]):
        assert main(words) == 65
        err = capfd.readouterr().err
        assert err.count("\n") == 1
        assert "does not let Scorer:v1 run here" in err
    assert not canary.exists()
    assert main(["info", "Scorer:v1"]) == 0  # looking is allowed


def test_a_worker_process_has_the_policy_too(bundle: Path, policy: Policy, tmp_path: Path) -> None:
    """A service that was pickled into another process is loaded there, under the policy of that process."""
    code = f"import bentobatch; bentobatch.load({str(bundle)!r})"
    policy("allow: [{name: Other}]")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "PolicyError" in done.stderr
    policy("allow: [{name: Scorer}]")
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_signature_holds_for_its_own_bundle_only(bundle: Path, keys: dict[str, str], tmp_path: Path) -> None:
    """Not copied to another bundle, nor with a byte changed, nor under another key's name."""
    sign(bundle, tmp_path / "release")
    digest = read_manifest(bundle).digest
    (made,) = read_signatures(bundle)
    assert signers([made], digest) == {keys["release"]}
    other = "0" * 64
    changed = ("A" if made["signature"][0] != "A" else "B") + made["signature"][1:]
    for forged in (
        {**made, "digest": other},
        {**made, "key": keys["other"]},
        {**made, "signature": changed},
        {**made, "signature": ""},
        {**made, "signature": "é"},
        {**made, "key": "ed25519:"},
        {**made, "key": "rsa:x"},
    ):
        assert signers([forged], digest) == set(), forged
        assert signers([forged], other) == set(), forged


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"signatures": {}}', '{"signatures": [1]}', '{"signatures": [{"key": 5}]}', "[" * 9000]
)
def test_a_malformed_signature_file_is_refused_where_it_counts(
    text: str, bundle: Path, policy: Policy, keys: dict[str, str]
) -> None:
    """Where a policy asks for a signer. Without a policy nobody looks at it."""
    (bundle / SIGNATURES).write_text(text)
    assert bentobatch.load(str(bundle)) is not None
    policy(f"keys: {{a: '{keys['release']}'}}\nallow: [{{signer: a}}]")
    with pytest.raises(BundleError, match=r"signatures\.json is malformed"):
        bentobatch.load(str(bundle))


def test_a_link_in_the_place_of_signatures_is_not_followed(bundle: Path, tmp_path: Path, keys: dict[str, str]) -> None:
    """Nor written through."""
    (tmp_path / "outside").write_text('{"signatures": []}')
    (bundle / SIGNATURES).symlink_to(tmp_path / "outside")
    with pytest.raises(BundleError, match="symbolic link"):
        sign(bundle, tmp_path / "release")
    assert (tmp_path / "outside").read_text() == '{"signatures": []}'


@pytest.mark.parametrize(
    "text",
    ["", "[]", "allow: {}",
     "allow: [x]", "allow: [{}]", "allow: [{nme: x}]", "alow: []", "allow: [{signer: a}]",
     "keys: [a]\nallow: []",
     "keys: {a: 'ed25519:x'}\nallow: []", "allow: [{digest: abc}]", "allow: [{digest: 5}]", "allow: [{name: 5}]", "a: b: c",
     "allow: [{signer: []}]", "allow: [{name: x, signer: 5}]", "!!python/object/apply:os.getcwd []", "x" * 2_000_000],
)  # fmt: skip
def test_a_malformed_policy_lets_nothing_run(text: str, bundle: Path, policy: Policy) -> None:
    """A mistake in it must not open the door."""
    policy(text)
    with pytest.raises(UsageError, match="policy"):
        bentobatch.load(str(bundle))


def test_a_policy_that_is_not_there_lets_nothing_run(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By the environment and by the configuration."""
    monkeypatch.setenv("BENTOBATCH_POLICY", str(tmp_path / "none.yml"))
    with pytest.raises(UsageError, match="cannot be read"):
        bentobatch.load(str(bundle))
    monkeypatch.delenv("BENTOBATCH_POLICY")
    assert main(["config", "set", f"policy={tmp_path / 'none.yml'}"]) == 0
    with pytest.raises(UsageError, match="cannot be read"):
        bentobatch.load(str(bundle))


def test_the_library_for_keys_is_imported_only_where_a_key_is_asked_for(
    bundle: Path, policy: Policy, tmp_path: Path
) -> None:
    """No policy, and a policy without signers, do without it."""
    code = f"import sys, bentobatch; bentobatch.load({str(bundle)!r}); print('cryptography' in sys.modules)"
    policy("allow: [{name: Scorer}]")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
    assert json.loads(json.dumps(parse_policy({"allow": []}, "x").rules)) == []
    check_policy(resolve(str(bundle)), read_manifest(bundle))


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "folder at a URL"])
def test_a_bundle_that_was_signed_after_it_came_into_the_cache_runs(
    kind: str, bundle: Path, policy: Policy, keys: dict[str, str], tmp_path: Path
) -> None:
    """The copy there gets the new signatures; nothing else of it changes."""

    def place() -> str:
        if kind != "folder at a URL":
            return str(packed(bundle, tmp_path / f"bundle.{kind}"))
        fs = fsspec.filesystem("memory")
        fs.put(str(bundle), f"/{tmp_path.name}", recursive=True)
        return f"memory://{tmp_path.name}@sha256:{read_manifest(bundle).digest}"

    policy(f"keys: {{a: '{keys['release']}'}}\nallow: [{{signer: a}}]")
    with pytest.raises(PolicyError):
        bentobatch.load(place())
    sign(bundle, tmp_path / "release")
    if kind == "folder at a URL":
        fsspec.filesystem("memory").rm(f"/{tmp_path.name}", recursive=True)
    assert bentobatch.load(place()).name == "Scorer"
