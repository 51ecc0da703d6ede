"""This module tests @env(zipimport_archives=…): the archives go along whole, and what is wrong with one is told."""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

import bentobatch
from bentobatch.bundle.manifest import read_manifest
from bentobatch.errors import BundleError, UsageError
from tests.bundle.projects import on_search_path, project, write_files

SERVICE = """
import bentobatch
from bentobatch.adapters import JsonInput
from bentobatch.frameworks.pickle import PickleArtifact
from zipped.inner import Thing
import aside

@bentobatch.env(zipimport_archives=["lib.zip"], infer_pip_packages=True)
@bentobatch.artifacts([PickleArtifact("model")])
class Zipped(bentobatch.BentoService):
    @bentobatch.api(input=JsonInput(), batch=True)
    def predict(self, values):
        return [(self.artifacts.model.who(), value) for value in values]
"""
LIBRARY = {
    "zipped/__init__.py": "",
    "zipped/inner.py": "import aside, yaml\nclass Thing:\n    def who(self):\n        return 'zip ' + aside.WHO\n",
}


def archive(file: Path, members: Mapping[str, str]) -> Path:
    """A zip file of these members."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(file, "w") as opened:
        for name, text in members.items():
            opened.writestr(name, text)
    return file


def saved(folder: Path) -> Path:
    """The bundle of a service whose model's class stands in an archive, beside a folder that would say something else."""
    files = {"service.py": SERVICE, "aside.py": "WHO = 'aside'\n"}
    lib = archive(folder / "p" / "lib.zip", LIBRARY)
    with on_search_path(lib), project(folder / "p", files) as module:
        service = module.Zipped().pack("model", module.Thing())
        assert service.predict([1]) == [("zip aside", 1)]
        return Path(service.save_to_dir(folder / "b", version="v1"))


def test_an_archive_goes_along_and_is_imported_from(tmp_path: Path) -> None:
    """The service, and the pickled model too, find its modules there, and none of it was unpacked; what its code imports
    is in the bundle and in the requirements."""
    bundle = saved(tmp_path)
    assert (bundle / "Zipped/zipimports/lib.zip").read_bytes() == (tmp_path / "p/lib.zip").read_bytes()
    assert not list(bundle.rglob("inner.py"))
    assert (bundle / "Zipped/aside.py").is_file()
    assert any(line.startswith("PyYAML==") for line in (bundle / "requirements.txt").read_text().splitlines())
    service = bentobatch.load(bundle)
    assert service.predict([2]) == [("zip aside", 2)]
    copy = Path(service.save_to_dir(tmp_path / "copy"))
    assert "Zipped/zipimports/lib.zip" in read_manifest(copy).files
    assert bentobatch.load(copy).predict([3]) == [("zip aside", 3)]


def test_an_archive_is_covered_by_the_digest(tmp_path: Path) -> None:
    """Other code in it is refused before it runs."""
    bundle = saved(tmp_path)
    archive(bundle / "Zipped/zipimports/lib.zip", {"zipped/inner.py": "raise SystemExit"})
    with pytest.raises(BundleError, match=r"zipimports/lib\.zip was changed"):
        bentobatch.load(bundle)


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"../evil.py": ""}, "leads out of its folder"),
        ({"/evil.py": ""}, "is an absolute path"),
        ({"fast.cpython-311-x86_64-linux-gnu.so": ""}, "is an extension module"),
        (None, "cannot be read as a zip file"),
    ],
)
def test_an_archive_that_cannot_go_along_is_told(tmp_path: Path, members: dict[str, str] | None, said: str) -> None:
    """In one line, when the service is saved; nothing is left behind."""
    source = SERVICE.replace("from zipped.inner import Thing\n", "class Thing: ...\n")
    files = {"service.py": source, "aside.py": ""}
    if members is None:
        write_files(tmp_path / "p", {"lib.zip": b"no zip"})
    else:
        archive(tmp_path / "p/lib.zip", members)
    with project(tmp_path / "p", files) as module, pytest.raises(UsageError, match=said) as caught:
        module.Zipped().pack("model", 1).save_to_dir(tmp_path / "b")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "b").exists()


def test_links_and_encrypted_members_are_refused(tmp_path: Path) -> None:
    """A link in an archive leads wherever it says."""
    lib = tmp_path / "p/lib.zip"
    link = zipfile.ZipInfo("link.py")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    lib.parent.mkdir()
    with zipfile.ZipFile(lib, "w") as opened:
        opened.writestr(link, "/etc/passwd")
    source = SERVICE.replace("from zipped.inner import Thing\n", "")
    with project(tmp_path / "p", {"service.py": source, "aside.py": ""}) as module:
        service = module.Zipped().pack("model", 1)
        with pytest.raises(UsageError, match="is no regular file"):
            service.save_to_dir(tmp_path / "b")
        data = bytearray(archive(lib, {"a.py": ""}).read_bytes())
        data[data.index(b"PK\x01\x02") + 8] |= 1  # the flag of encryption in the central directory
        lib.write_bytes(data)
        with pytest.raises(UsageError, match="is encrypted"):
            service.save_to_dir(tmp_path / "b")


def test_two_archives_of_one_name_and_one_that_is_missing_are_told(tmp_path: Path) -> None:
    """They would be one file in the bundle."""
    source = SERVICE.replace("from zipped.inner import Thing\n", "").replace(
        '["lib.zip"]', '["a/lib.zip", "b/lib.zip"]'
    )
    files = {"service.py": source, "aside.py": ""}
    archive(tmp_path / "p/a/lib.zip", LIBRARY)
    with project(tmp_path / "p", files) as module:
        service = module.Zipped().pack("model", 1)
        with pytest.raises(UsageError, match=r"names the file 'b/lib\.zip', which is not in"):
            service.save_to_dir(tmp_path / "b")
        archive(tmp_path / "p/b/lib.zip", LIBRARY)
        with pytest.raises(UsageError, match=r"two archives called 'lib\.zip'"):
            service.save_to_dir(tmp_path / "b")
