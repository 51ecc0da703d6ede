"""This module tests bundles from URLs and archives: pinned or trusted, verified, whole or not at all, no secret told."""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request

import fsspec
import pytest

import bentobatch
from bentobatch.bundle import fetch
from bentobatch.bundle.fetch import is_fetched
from bentobatch.bundle.manifest import read_manifest
from bentobatch.bundle.unpacking import Limits
from bentobatch.bundle.urls import shown
from bentobatch.bundle.web import _Redirects
from bentobatch.cli.main import main
from bentobatch.errors import BundleError, NoInputError, StorageError, UnavailableError, UsageError
from bentobatch.repository.local import resolve
from bentobatch.runs import make_job
from tests.bundle.packing import KINDS, packed
from tests.bundle.projects import snapshot
from tests.bundle.services import SERVICE, save_service
from tests.bundle.test_load import CANARY, resealed
from tests.bundle.web_server import WebServer, redirect, web_server


@pytest.fixture
def server() -> Iterator[WebServer]:
    with web_server() as found:
        yield found


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "home" / "cache" / "bundles"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return save_service(tmp_path / "p", tmp_path / "b")


def served(server: WebServer, folder: Path, name: str, **options: Any) -> str:
    """The folder as an archive on the server; its URL."""
    archive = packed(folder, folder.parent / "packed" / name, **options)
    server.files[f"/{name}"] = archive.read_bytes()
    return f"{server.url}/{name}"


def served_folder(server: WebServer, folder: Path) -> str:
    for path in folder.rglob("*"):
        if path.is_file():
            server.files[f"/b/{path.relative_to(folder).as_posix()}"] = path.read_bytes()
    return f"{server.url}/b"


def left_in(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir()) if cache.exists() else []


def digest_of(folder: Path) -> str:
    return read_manifest(folder).digest


# -- trust --------------------------------------------------------------------------------------------------------


def test_a_url_without_a_pin_is_refused_before_anything_is_asked_of_the_server(
    server: WebServer, bundle: Path, cache: Path, tmp_path: Path, capfd: Any
) -> None:
    """S04: neither the Python API nor the command line opens a connection; exit 2, and the way out is told."""
    for url in (served(server, bundle, "b.tar.gz"), served(server, bundle, "b.zip"), served_folder(server, bundle)):
        for ask in (fetch.fetch, resolve, lambda url: make_job(url, input="1")):
            with pytest.raises(UsageError, match=r"pin what it is, as in URL@sha256:DIGEST .* or give --trust"):
                ask(url)
        assert main(["run", url, "--input", "1"]) == 2
        assert main(["info", url]) == 2
        assert "--trust" in capfd.readouterr().err
    assert server.asked == []
    assert left_in(cache) == []


@pytest.mark.parametrize("pin", ["@sha256:", "@sha256:00", "@sha256:" + "g" * 64, "@sha256:" + "0" * 65, "@sha1:00"])
def test_a_malformed_pin_is_no_pin(server: WebServer, bundle: Path, pin: str) -> None:
    """It is refused as it stands, and never taken for none together with --trust."""
    url = served(server, bundle, "b.tar.gz")
    with pytest.raises(UsageError, match=r"64 hexadecimal digits|pin what it is"):
        fetch.fetch(url + pin)
    assert server.asked == []


@pytest.mark.parametrize("kind", [*KINDS, "folder"])
def test_a_pinned_bundle_is_fetched_once_and_runs(
    server: WebServer, bundle: Path, cache: Path, kind: str, capfd: Any
) -> None:
    """From an archive or a folder; the second time no server is asked."""
    url = served_folder(server, bundle) if kind == "folder" else served(server, bundle, f"b.{kind}")
    digest = digest_of(bundle)
    found = resolve(f"{url}@sha256:{digest.upper()}")
    assert found == cache / digest
    assert bentobatch.load(found).predict([1]) == [("a", "late a", "late a", 1)]
    assert server.asked
    server.asked.clear()
    assert resolve(f"{url}@sha256:{digest}") == found
    job = make_job(f"{url}@sha256:{digest}", input="1")
    assert (job.bundle, job.bundle_digest) == (str(found), digest)
    assert main(["info", f"{url}@sha256:{digest}"]) == 0
    assert digest in capfd.readouterr().out
    assert server.asked == []
    assert left_in(cache) == [digest]


@pytest.mark.parametrize("kind", [*KINDS, "folder"])
def test_a_pin_that_does_not_fit_names_both_digests_and_leaves_nothing(
    server: WebServer, bundle: Path, cache: Path, kind: str
) -> None:
    """--trust beside it changes nothing: who pins a digest wants that one."""
    url = served_folder(server, bundle) if kind == "folder" else served(server, bundle, f"b.{kind}")
    for trust in (False, True):
        with pytest.raises(BundleError, match="as pinned") as caught:
            fetch.fetch(f"{url}@sha256:{'0' * 64}", trust=trust)
        assert digest_of(bundle) in str(caught.value)
        assert "0" * 64 in str(caught.value)
    assert left_in(cache) == []
    if kind == "folder":
        assert {path for path, _ in server.asked} == {"/b/bentoml.yml"}


@pytest.mark.parametrize("kind", [*KINDS, "folder"])
def test_trust_takes_what_comes_and_keeps_it_under_its_digest(
    server: WebServer, bundle: Path, cache: Path, kind: str, tmp_path: Path
) -> None:
    """The URL is asked each time, since another bundle may stand there."""
    url = served_folder(server, bundle) if kind == "folder" else served(server, bundle, f"b.{kind}")
    first = make_job(url, input="1", trust=True)
    assert first.bundle == str(cache / digest_of(bundle))
    other = save_service(tmp_path / "p2", tmp_path / "b2", "b")
    _ = served_folder(server, other) if kind == "folder" else served(server, other, f"b.{kind}")
    second = fetch.fetch(url, trust=True)
    assert second == cache / digest_of(other)
    assert left_in(cache) == sorted([digest_of(bundle), digest_of(other)])


def test_the_command_line_runs_a_bundle_from_a_url(server: WebServer, bundle: Path, capfd: Any) -> None:
    """Pinned, and with --trust; info too."""
    url = served(server, bundle, "b.tar.gz")
    for words in ([f"{url}@sha256:{digest_of(bundle)}"], [url, "--trust"]):
        assert main(["run", words[0], "predict", *words[1:], "--input", "7", "--quiet"]) == 0, capfd.readouterr().err
        assert '"late a"' in capfd.readouterr().out
        assert main(["info", *words]) == 0
        assert "Scorer" in capfd.readouterr().out


def changed_code(folder: Path, canary: Path) -> None:
    """A line at the service's top that touches the canary, in a file whose sha256 is not the manifest's any more."""
    source = folder / "Scorer/service.py"
    source.write_text(CANARY.format(canary=str(canary)) + source.read_text())


@pytest.mark.parametrize("kind", [*KINDS, "folder"])
def test_a_changed_file_is_named_and_none_of_its_code_runs(
    server: WebServer, bundle: Path, cache: Path, kind: str, tmp_path: Path
) -> None:
    """The manifest is the pinned one, a file is not: nothing of it stays."""
    canary, digest = tmp_path / "canary", digest_of(bundle)
    changed_code(bundle, canary)
    url = served_folder(server, bundle) if kind == "folder" else served(server, bundle, f"b.{kind}")
    for ref, trust in ((f"{url}@sha256:{digest}", False), (url, True)):
        with pytest.raises(BundleError, match=r"Scorer/service\.py") as caught:
            make_job(ref, input="1", trust=trust)
        assert str(cache) not in str(caught.value)
        assert server.url in str(caught.value)
    assert not canary.exists()
    assert left_in(cache) == []


def test_fetching_runs_no_code(server: WebServer, tmp_path: Path) -> None:
    """Also of a bundle that is what it says; loading it does."""
    canary = tmp_path / "canary"
    bundle = save_service(tmp_path / "p", tmp_path / "b", service_py=SERVICE)
    changed_code(bundle, canary)
    entry = {"size": (bundle / "Scorer/service.py").stat().st_size}
    entry["sha256"] = __import__("hashlib").sha256((bundle / "Scorer/service.py").read_bytes()).hexdigest()
    resealed(bundle, files={**read_manifest(bundle).files, "Scorer/service.py": entry})
    found = fetch.fetch(served(server, bundle, "b.zip"), trust=True)
    assert not canary.exists()
    bentobatch.load(found)
    assert canary.exists()


# -- places -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_local_archive_is_trusted_by_being_named(bundle: Path, cache: Path, kind: str, tmp_path: Path) -> None:
    """By path or file://; a pin on it is compared all the same."""
    archive = packed(bundle, tmp_path / f"b.{kind}")
    assert resolve(str(archive)) == cache / digest_of(bundle)
    assert resolve(f"file://{archive}") == cache / digest_of(bundle)
    assert resolve(f"{archive}@sha256:{digest_of(bundle)}") == cache / digest_of(bundle)
    with pytest.raises(BundleError, match="as pinned"):
        resolve(f"{archive}@sha256:{'0' * 64}")
    assert bentobatch.load(resolve(str(archive))).predict([1]) == [("a", "late a", "late a", 1)]


def test_a_folder_at_a_file_url_is_used_where_it_is(bundle: Path, cache: Path) -> None:
    """Nothing is copied; a pin is compared."""
    assert resolve(f"file://{bundle}") == bundle
    with pytest.raises(BundleError, match="as pinned"):
        resolve(f"file://{bundle}@sha256:{'0' * 64}")
    assert left_in(cache) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_bundle_may_stand_in_the_archives_one_folder(bundle: Path, cache: Path, kind: str, tmp_path: Path) -> None:
    """As `tar czf v1.tar.gz v1` packs it; what its manifest does not list is not kept."""
    digest = digest_of(bundle)
    (bundle / "._bentoml.yml").write_text("a macOS tool was here")
    (bundle / "Scorer/planted.py").write_text("raise SystemExit")
    found = resolve(str(packed(bundle, tmp_path / f"v1.{kind}", below="v1")))
    assert found == cache / digest
    assert not (found / "Scorer/planted.py").exists()
    assert set(snapshot(found)) == set(snapshot(bundle)) - {"._bentoml.yml", "Scorer/planted.py"}


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_without_a_bundle_or_with_two_is_refused(
    bundle: Path, cache: Path, kind: str, tmp_path: Path
) -> None:
    """Nobody guesses which one is meant."""
    (tmp_path / "none").mkdir()
    (tmp_path / "none/file").write_text("x")
    with pytest.raises(BundleError, match=r"it holds no bentoml\.yml"):
        resolve(str(packed(tmp_path / "none", tmp_path / f"n.{kind}")))
    for name in ("one", "two"):
        bentobatch.load(bundle).save_to_dir(tmp_path / "both" / name, version=name)
    with pytest.raises(BundleError, match="it holds several bundles"):
        resolve(str(packed(tmp_path / "both", tmp_path / f"t.{kind}")))
    assert left_in(cache) == []


def test_any_url_of_fsspec_is_read(bundle: Path, cache: Path, tmp_path: Path) -> None:
    """memory:// stands for the others; a folder is read by its manifest, and nothing else of it."""
    memory = fsspec.filesystem("memory")
    archive = packed(bundle, tmp_path / "b.tar.gz")
    memory.pipe("/some/b.tar.gz", archive.read_bytes())
    for path in bundle.rglob("*"):
        if path.is_file():
            memory.pipe(f"/some/b/{path.relative_to(bundle).as_posix()}", path.read_bytes())
    memory.pipe("/some/b/extra.bin", b"x")
    digest = digest_of(bundle)
    try:
        assert resolve(f"memory://some/b/@sha256:{digest}") == cache / digest
        assert set(snapshot(cache / digest)) == set(snapshot(bundle))
        (cache / digest).rename(tmp_path / "aside")
        assert resolve(f"memory://some/b.tar.gz@sha256:{digest}") == cache / digest
        with pytest.raises(NoInputError, match="nothing is there"):
            resolve(f"memory://some/other@sha256:{digest[::-1]}")
        with pytest.raises(UsageError, match="pin what it is"):
            resolve("memory://some/b")
    finally:
        memory.rm("/some", recursive=True)


def test_a_bucket_is_read(bundle: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """s3://bucket/x.tar.gz and s3://bucket/folder, on an S3 API."""
    moto = pytest.importorskip("moto.server")
    pytest.importorskip("s3fs")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            monkeypatch.setenv(name, value)
        fs = fsspec.filesystem("s3", skip_instance_cache=True)
        fs.mkdir("bucket")
        fs.put(str(packed(bundle, tmp_path / "x.tar.gz")), "bucket/x.tar.gz")
        fs.put(str(bundle), "bucket/folder", recursive=True)
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        digest = digest_of(bundle)
        assert resolve(f"s3://bucket/x.tar.gz@sha256:{digest}") == cache / digest
        (cache / digest).rename(tmp_path / "aside")
        assert resolve(f"s3://bucket/folder@sha256:{digest}") == cache / digest
        with pytest.raises(NoInputError, match="nothing is there"):
            resolve(f"s3://bucket/none.tar.gz@sha256:{'0' * 64}")
    finally:
        server.stop()
        fsspec.get_filesystem_class("s3").clear_instance_cache()


@pytest.mark.parametrize(
    ("ref", "answer"),
    [
        ("b.zip", True),
        ("b.TGZ", True),
        ("x/Iris:v1.zip", True),
        ("Iris:v1.zip", False),
        ("Iris:latest", False),
        ("folder", False),
        ("b.tar", False),
        ("b.tar.gz@sha256:00", True),
        ("s3://bucket/folder", True),
    ],
)
def test_what_is_fetched_is_told_by_its_name(ref: str, answer: bool) -> None:
    """A tag's version may end like an archive's name."""
    assert is_fetched(ref) is answer


def test_a_folder_that_is_named_like_an_archive_is_a_folder(bundle: Path, tmp_path: Path) -> None:
    """What stands at the path comes first."""
    bundle.rename(tmp_path / "b.zip")
    assert resolve(str(tmp_path / "b.zip")) == tmp_path / "b.zip"


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_archive_is_one_line(tmp_path: Path, kind: str, cache: Path) -> None:
    """Neither is it tried as something else."""
    (tmp_path / f"text.{kind}").write_text("<html>" * 1000)
    with pytest.raises(BundleError, match="cannot be read as an archive of its kind"):
        resolve(str(tmp_path / f"text.{kind}"))
    other = "zip" if kind != "zip" else "tar.gz"
    (tmp_path / "d").mkdir()
    (tmp_path / f"other.{kind}").write_bytes(packed(tmp_path / "d", tmp_path / f"x.{other}").read_bytes())
    with pytest.raises(BundleError, match="cannot be read as an archive of its kind"):
        resolve(str(tmp_path / f"other.{kind}"))
    os.mkfifo(tmp_path / f"fifo.{kind}")
    with pytest.raises(BundleError, match="no regular file"):
        resolve(str(tmp_path / f"fifo.{kind}"))
    with pytest.raises(NoInputError, match="no such file"):
        resolve(str(tmp_path / f"gone.{kind}"))
    assert left_in(cache) == []


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_that_is_cut_off_anywhere_is_refused(bundle: Path, tmp_path: Path, kind: str, cache: Path) -> None:
    """At every 211th byte; of a tar archive's last block of zeros, nothing is wanted."""
    data = packed(bundle, tmp_path / f"b.{kind}").read_bytes()
    for length in range(0, len(data) - 1600, 211):
        (tmp_path / f"cut.{kind}").write_bytes(data[:length])
        with pytest.raises(BundleError) as caught:
            resolve(str(tmp_path / f"cut.{kind}"))
        assert "\n" not in str(caught.value)
    assert left_in(cache) == []


# -- the cache ----------------------------------------------------------------------------------------------------


def test_a_damaged_copy_in_the_cache_is_replaced(server: WebServer, bundle: Path, cache: Path) -> None:
    """A crash or a stray hand may leave one; it is verified whenever it is used."""
    ref = f"{served(server, bundle, 'b.tar.gz')}@sha256:{digest_of(bundle)}"
    found = resolve(ref)
    (found / "Scorer/late.py").write_text("WHO = 'evil a'")
    assert resolve(ref) == found
    assert bentobatch.load(found).predict([1]) == [("a", "late a", "late a", 1)]
    assert left_in(cache) == [digest_of(bundle)]


def test_many_at_once_end_in_one_copy(server: WebServer, bundle: Path, cache: Path) -> None:
    """Nobody sees half a bundle, and the last one does not fail over the first one's."""
    url = served(server, bundle, "b.zip")
    barrier, found = threading.Barrier(8), []

    def work() -> None:
        barrier.wait()
        found.append(fetch.fetch(url, trust=True))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [cache / digest_of(bundle)] * 8
    assert left_in(cache) == [digest_of(bundle)]


def test_while_it_comes_a_bundle_is_nobody_elses_and_under_another_name(
    server: WebServer, bundle: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S18: a folder of mkdtemp beside its place, mode 0700; the finished one has the usual mode."""
    seen: list[tuple[str, int, int]] = []
    verified = fetch._verified

    def watch(reference: Any, root: Path) -> Any:
        seen.extend((path.name, stat.S_IMODE(path.stat().st_mode), path.stat().st_dev) for path in cache.iterdir())
        return verified(reference, root)

    monkeypatch.setattr(fetch, "_verified", watch)
    before = os.umask(0o022)
    try:
        for name in ("b.zip", "b.tar.gz"):
            fetch.fetch(served(server, bundle, name), trust=True).rename(cache.parent / name)
    finally:
        os.umask(before)
    (first, mode, device), (second, _, _) = seen
    assert first.startswith(".fetch-")
    assert first != second
    assert (mode, device) == (0o700, cache.stat().st_dev)
    for name in ("b.zip", "b.tar.gz"):
        assert stat.S_IMODE((cache.parent / name).stat().st_mode) == 0o755
        assert stat.S_IMODE((cache.parent / name / "Scorer/service.py").stat().st_mode) == 0o644


def test_what_a_killed_process_left_is_removed_a_day_later(bundle: Path, cache: Path, tmp_path: Path) -> None:
    """A younger one may be at work."""
    for name in (".fetch-old", ".fetch-young"):
        (cache / name / "bundle").mkdir(parents=True)
    long_ago = time.time() - 25 * 3600
    os.utime(cache / ".fetch-old", (long_ago, long_ago))
    resolve(str(packed(bundle, tmp_path / "b.zip")))
    assert left_in(cache) == [".fetch-young", digest_of(bundle)]


def test_a_home_that_cannot_be_written_is_one_line(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 74, with the setting that moves it."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BENTOBATCH_HOME", str(tmp_path / "file"))
    with pytest.raises(StorageError, match="set BENTOBATCH_HOME"):
        resolve(str(packed(bundle, tmp_path / "b.zip")))


# -- servers ------------------------------------------------------------------------------------------------------

SECRETS = ("s3cret", "t0ken", "us3r")


def status(code: int) -> Any:
    def answer(handler: Any) -> None:
        handler.send_response(code)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


@pytest.mark.parametrize(
    ("code", "error"),
    [(404, NoInputError), (403, StorageError), (401, StorageError), (503, UnavailableError), (429, UnavailableError)],
)
def test_no_message_has_credentials_in_it(
    server: WebServer, code: int, error: type[Exception], capfd: Any, cache: Path
) -> None:
    """Neither user, password (with an @ in it) nor query; nor does the traceback of --debug."""
    server.files["/b.tar.gz"] = status(code)
    url = server.with_user("us3r:s3cret@s3cret") + "/b.tar.gz?token=t0ken"
    for ref in (f"{url}@sha256:{'0' * 64}", url):
        with pytest.raises(error, match=str(code)) as caught:
            fetch.fetch(ref, trust=True)
        assert not [secret for secret in SECRETS if secret in str(caught.value)]
        assert main(["run", ref, "--trust", "--input", "1", "--debug"]) == caught.value.exit_code  # type: ignore[attr-defined]
        err = capfd.readouterr().err
        assert not [secret for secret in SECRETS if secret in err], err
    with pytest.raises(UsageError) as caught:
        fetch.fetch(url)
    assert not [secret for secret in SECRETS if secret in str(caught.value)]
    assert server.asked[0][1] == "Basic dXMzcjpzM2NyZXRAczNjcmV0"  # they were sent, as they are meant to be
    assert left_in(cache) == []


def test_a_server_that_is_not_there_can_be_tried_again() -> None:
    """Exit 69; no credentials in the line."""
    with pytest.raises(UnavailableError, match="Connection refused") as caught:
        fetch.fetch("http://us3r:s3cret@127.0.0.1:9/b.zip?token=t0ken", trust=True)
    assert not [secret for secret in SECRETS if secret in str(caught.value)]


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("https://u:p@h/x.zip?sig=1", "https://***@h/x.zip?***"),
        ("https://u:p@ss@h/x.zip#frag", "https://***@h/x.zip?***"),
        ("https://h?sig=1", "https://h?***"),
        ("s3://bucket/a@b.zip", "s3://bucket/a@b.zip"),
        ("https://h/a\nb.zip", "https://h/a\\nb.zip"),
    ],
)
def test_a_url_is_shown_without_what_may_be_secret(url: str, text: str) -> None:
    """In one printable line."""
    assert shown(url) == text


def test_a_redirect_keeps_credentials_at_home(server: WebServer, bundle: Path, cache: Path) -> None:
    """To the same host they go along; to another host or port they do not."""
    served(server, bundle, "real.tar.gz")
    with web_server() as other:
        other.files.update(server.files)
        server.files["/same/b.tar.gz"] = redirect("/real.tar.gz")
        server.files["/away/b.tar.gz"] = redirect(f"{other.url}/real.tar.gz")
        base = server.with_user("us3r:s3cret")
        assert fetch.fetch(f"{base}/same/b.tar.gz", trust=True) == cache / digest_of(bundle)
        assert [path for path, credentials in server.asked if credentials] == ["/same/b.tar.gz", "/real.tar.gz"]
        assert fetch.fetch(f"{base}/away/b.tar.gz", trust=True) == cache / digest_of(bundle)
        assert other.asked == [("/real.tar.gz", None)]


@pytest.mark.parametrize(
    "target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:text/plain,x", "http://u:p@127.0.0.1:1/"]
)
def test_a_redirect_to_something_else_is_not_followed(server: WebServer, target: str, cache: Path) -> None:
    """Neither to this machine's files nor to a URL with somebody's name in it."""
    server.files["/b.zip"] = redirect(target)
    with pytest.raises((UsageError, StorageError), match=r"leads on to|the server says 302"):
        fetch.fetch(f"{server.url}/b.zip", trust=True)
    assert left_in(cache) == []


def test_a_redirect_from_https_to_http_is_not_followed() -> None:
    """What was asked for over https does not come over a line that anybody can change."""
    asked = Request("https://host/b.zip")
    with pytest.raises(UsageError, match="is not https"):
        _Redirects().redirect_request(asked, None, 302, "", {}, "http://host/b.zip")
    made = _Redirects().redirect_request(asked, None, 302, "", {}, "https://other/b.zip")
    assert made is not None


def test_redirects_without_end_end(server: WebServer) -> None:
    """In a line of ours."""
    server.files["/b.zip"] = redirect("/b.zip")
    with pytest.raises(StorageError, match="302"):
        fetch.fetch(f"{server.url}/b.zip", trust=True)


def test_a_download_that_stops_in_the_middle_is_no_bundle(server: WebServer, bundle: Path, cache: Path) -> None:
    """Python's client alone would take what came for the whole."""
    data = packed(bundle, bundle.parent / "b.tar.gz").read_bytes()

    def answer(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data[:-10])

    server.files["/b.tar.gz"] = answer
    with pytest.raises(UnavailableError, match=f"cut off after {len(data) - 10:,} of {len(data):,} bytes"):
        fetch.fetch(f"{server.url}/b.tar.gz", trust=True)
    assert left_in(cache) == []


@pytest.mark.parametrize("told", [True, False])
def test_a_download_is_bounded(server: WebServer, told: bool, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    """Whether the server says how much is to come, or sends without end."""
    monkeypatch.setattr(fetch, "LIMITS", Limits(bytes=3 << 20))
    sent = 0

    def answer(handler: Any) -> None:
        nonlocal sent
        handler.send_response(200)
        if told:
            handler.send_header("Content-Length", str(1 << 40))
        handler.end_headers()
        try:
            while sent < 1 << 28:
                handler.wfile.write(b"\0" * (1 << 16))
                sent += 1 << 16
        except OSError:
            pass  # the client hung up, as it should

    server.files["/b.tar.gz"] = answer
    with pytest.raises(BundleError, match="more than 3,145,728 bytes"):
        fetch.fetch(f"{server.url}/b.tar.gz", trust=True)
    assert sent < 1 << 26  # what fits into the sockets' buffers
    assert left_in(cache) == []


def test_a_file_of_a_folder_is_not_read_beyond_its_size(server: WebServer, bundle: Path, cache: Path) -> None:
    """The manifest says how long each one is."""
    url = served_folder(server, bundle)
    server.files["/b/docs.json"] = b"x" * 1_000_000
    size = (bundle / "docs.json").stat().st_size
    with pytest.raises(BundleError, match=rf"docs\.json has more than {size:,} bytes"):
        fetch.fetch(url, trust=True)
    assert left_in(cache) == []


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a/../../x", "con", "a\\b", "C:x"])
def test_a_manifest_that_names_files_elsewhere_is_refused(
    server: WebServer, bundle: Path, path: str, cache: Path
) -> None:
    """Whoever made it could make its digest too."""
    files = {**read_manifest(bundle).files, path: {"sha256": "0" * 64, "size": 1}}
    resealed(bundle, files=files)
    url = served_folder(server, bundle)
    before = {place for place in cache.parent.parent.parent.rglob("*") if cache not in place.parents}
    with pytest.raises(BundleError, match="do not use"):
        fetch.fetch(f"{url}@sha256:{digest_of(bundle)}")
    assert left_in(cache) == []
    assert {place for place in cache.parent.parent.parent.rglob("*") if cache not in place.parents} - before <= {
        cache,
        cache.parent,
        cache.parent.parent,
    }


def test_chains_and_odd_urls_are_refused(server: WebServer) -> None:
    """A chain would bring another archive reader, without bounds, into play."""
    for ref in ("zip://bentoml.yml::http://h/x.zip", "simplecache::http://h/x.zip", "tar://x::s3://b/y.tar"):
        with pytest.raises(UsageError, match="chain of URLs"):
            fetch.fetch(ref, trust=True)
    with pytest.raises(UsageError, match="no absolute path"):
        fetch.fetch("file://b.zip", trust=True)
    assert server.asked == []


def test_the_modules_of_the_network_are_imported_when_they_are_needed(tmp_path: Path) -> None:
    """A tag or a local path pays neither for Python's http client nor for fsspec."""
    import subprocess
    import sys

    code = (
        "import sys, bentobatch.repository.local\n"
        "print([name for name in ('http.client', 'fsspec', 'pyarrow') if name in sys.modules])"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_limits_allow_small_archives_more_than_their_ratio() -> None:
    """A bundle of zeros and 1 MB of code is no bomb."""
    limits = Limits()
    assert limits.unpacked(1_000) == 256 << 20
    assert limits.unpacked(100 << 20) == 100 * (100 << 20)
    assert limits.unpacked(1 << 40) == 20 << 30
