"""This module tests that a bundle's imports find the bundle's own modules, nobody else's, at any time."""

from __future__ import annotations

import dataclasses
import importlib.machinery
import importlib.util
import inspect
import pickle
import sys
import threading
import traceback
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bentobatch.bundle import imports
from tests.bundle.projects import on_search_path, write_files

Loader = Callable[..., imports.BundleCode]


@pytest.fixture
def bundle(tmp_path: Path) -> Iterator[Loader]:
    """Makes bundle code of files, under a digest that no other test has; forgets it afterwards."""
    made: list[imports.BundleCode] = []

    def make(files: dict[str, str | bytes], name: str = "a") -> imports.BundleCode:
        root = write_files(tmp_path / name, files)
        listed = {path: (root / path).read_bytes() if path.endswith(".py") else None for path in files}
        code = imports.BundleCode(f"{len(made):02d}" + format(abs(hash(str(root))), "x") * 3, root, listed)
        imports.install(code)
        made.append(code)
        return code

    yield make
    for code in made:
        imports.uninstall(code.package)


def plain_state() -> tuple[list[str], set[str]]:
    return list(sys.path), {name for name in sys.modules if not name.startswith(imports.PREFIX)}


def test_plain_names_and_the_search_path_stay_as_they_were(bundle: Loader) -> None:
    """A bundle's modules stand in sys.modules under private names only."""
    before = plain_state()
    module = bundle({"service.py": "import helper\nfrom pkg import sub\n", "helper.py": "", "pkg/sub.py": ""}).module(
        "service"
    )
    assert plain_state() == before
    assert module.helper.__name__ == module.__name__.replace("service", "helper")
    assert module.__name__.startswith(imports.PREFIX)


def test_two_bundles_with_a_helper_each_use_their_own_now_and_later(bundle: Loader) -> None:
    """D2: imports at load time and inside functions, later, resolve to the bundle's own modules."""
    files = {"service.py": "import helper\ndef later():\n    import late\n    return helper.WHO, late.WHO\n"}
    first = bundle({**files, "helper.py": "WHO = 'a'", "late.py": "WHO = 'late a'"}, "a").module("service")
    second = bundle({**files, "helper.py": "WHO = 'b'", "late.py": "WHO = 'late b'"}, "b").module("service")
    assert second.later() == ("b", "late b")
    assert first.later() == ("a", "late a")


def test_own_modules_win_over_the_hosts_and_over_the_standard_library_only_inside(
    bundle: Loader, tmp_path: Path
) -> None:
    """A helper.py of the host project, a types.py and a numpy.py of the bundle: each side keeps its own."""
    write_files(tmp_path / "host", {"helper.py": "WHO = 'host'"})
    with on_search_path(tmp_path / "host"):
        import helper  # type: ignore[import-not-found]

        service = bundle(
            {
                "service.py": "import helper, types, numpy\nimport collections.abc\nimport dataclasses",
                "helper.py": "WHO = 'bundle'",
                "types.py": "WHO = 'bundle'",
                "numpy.py": "WHO = 'bundle'",
            }
        ).module("service")
        assert [service.helper.WHO, service.types.WHO, service.numpy.WHO] == ["bundle"] * 3
        assert helper.WHO == "host"
        assert sys.modules["types"].FunctionType is type(plain_state)


PACKAGE = {
    "pkg/__init__.py": "from .base import Base\nfrom . import sub as inner\n__all__ = ['sub', 'Base']",
    "pkg/base.py": "class Base: pass",
    "pkg/sub/__init__.py": "from ..base import Base\nfrom .deep import DEEP",
    "pkg/sub/deep.py": "DEEP = 'deep'\ndef relative():\n    from .. import base\n    return base",
}


@pytest.mark.parametrize(
    "statement",
    [
        "import pkg.sub.deep as x",
        "from pkg.sub import deep as x",
        "import pkg.sub.deep; x = pkg.sub.deep",
        "from pkg import *; x = sub.deep",
        "import importlib; x = importlib.import_module('pkg.sub.deep')",
        "from importlib import import_module; x = import_module('.deep', 'pkg.sub')",
        "x = __import__('pkg.sub.deep').sub.deep",
        "import importlib; x = importlib.__import__('pkg.sub.deep', fromlist=['DEEP'])",
        "import importlib.util as u; assert u.find_spec('pkg.sub.deep'); import pkg; x = pkg.inner.deep",
        "exec('import pkg.sub.deep'); x = eval('pkg').sub.deep",
        "from pkg.sub import __name__ as n; import importlib; x = importlib.import_module(n + '.deep')",
        "import pkgutil; x = pkgutil.resolve_name('pkg.sub:deep')",
    ],
)
def test_every_spelling_of_an_import_finds_the_own_package(bundle: Loader, statement: str) -> None:
    """import, from, star, as, import_module, __import__, find_spec, exec and relative imports."""
    before = plain_state()
    code = bundle({**PACKAGE, "service.py": f"{statement}\nfound = x.DEEP"})
    service = code.module("service")
    assert service.found == "deep"
    assert service.x.relative() is code.module("pkg.base")
    assert plain_state() == before


def test_a_missing_submodule_is_named_by_its_plain_name(bundle: Loader) -> None:
    """except ImportError in the user's code works, and the message does not show private names."""
    code = bundle({"pkg/__init__.py": "", "service.py": "import pkg.nothing"})
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'pkg\.nothing'") as caught:
        code.module("service")
    assert caught.value.name == "pkg.nothing"
    optional = bundle(
        {"pkg/__init__.py": "", "service.py": "try:\n  from pkg import no\nexcept ImportError:\n  no = 1"}
    )
    assert optional.module("service").no == 1


def test_files_that_the_manifest_does_not_list_are_never_imported(bundle: Loader, tmp_path: Path) -> None:
    """A module that somebody added to the folder of a bundle, even to a package of it, does not exist for it."""
    code = bundle({"pkg/__init__.py": "", "service.py": "def later():\n    import pkg.added", "helper.py": ""})
    write_files(tmp_path / "a", {"pkg/added.py": "raise SystemExit", "added.py": "raise SystemExit"})
    with pytest.raises(ModuleNotFoundError):
        code.module("service").later()
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(f"{code.package}.pkg.added")
    with pytest.raises(ModuleNotFoundError):
        code.module("added")


def test_a_module_runs_the_verified_bytes_and_no_cache(bundle: Loader, tmp_path: Path) -> None:
    """What was hashed is what is compiled: a file or a .pyc that changed in between has no effect."""
    code = bundle({"service.py": "VALUE = 'verified'"})
    import py_compile

    write_files(tmp_path / "a", {"service.py": "VALUE = 'swapped'"})
    py_compile.compile(str(tmp_path / "a" / "service.py"))
    listing = sorted(path.name for path in (tmp_path / "a").rglob("*"))
    assert code.module("service").VALUE == "verified"
    assert sorted(path.name for path in (tmp_path / "a").rglob("*")) == listing


def test_threads_import_two_bundles_at_once_and_each_gets_its_own(bundle: Loader) -> None:
    """Concurrent imports of modules with the same plain names never cross over, and each module runs once."""
    files = {f"m{i}.py": f"import time; time.sleep(0.001); import m{i + 1}; COUNT = [1]" for i in range(20)}
    codes = [
        bundle({**files, "m20.py": f"WHO = {name!r}\nCOUNT = [1]"}, name) for name in ("a", "b", "c", "d")
    ]  # fmt: skip
    seen: list[tuple[str, Any]] = []
    failures: list[BaseException] = []
    barrier = threading.Barrier(16)

    def load(code: imports.BundleCode) -> None:
        try:
            barrier.wait()
            module = code.module("m0")
            for i in range(1, 21):
                module = getattr(module, f"m{i}")
            seen.append((code.root.name, module.WHO))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=load, args=(codes[i % 4],)) for i in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sorted(seen) == sorted((name, name) for name in "abcd" for _ in range(4))


def test_data_files_beside_the_code_are_found_in_every_usual_way(bundle: Loader) -> None:
    """__file__, importlib.resources and pkgutil.get_data, by private and by plain name."""
    source = """
    import importlib.resources, pkgutil
    from importlib.resources import files
    from pathlib import Path
    import nested.data
    def read():
        return [
            (Path(__file__).parent / "x.csv").read_text(),
            importlib.resources.files(__package__).joinpath("x.csv").read_text(),
            files("pkg").joinpath("x.csv").read_text(),
            files("nested.data").joinpath("y.csv").read_text(),
            importlib.resources.files(nested.data).joinpath("y.csv").read_text(),
            pkgutil.get_data(__name__, "x.csv").decode(),
            pkgutil.get_data("pkg", "x.csv").decode(),
            [m.name for m in pkgutil.iter_modules([str(Path(__file__).parent)])],
        ]
    """
    code = bundle(
        {
            "pkg/__init__.py": "",
            "pkg/reader.py": source,
            "pkg/x.csv": "x",
            "nested/data/z.py": "",
            "nested/data/y.csv": "y",
        }
    )
    assert code.module("pkg.reader").read() == ["x", "x", "x", "y", "y", "x", "x", ["reader"]]


def test_source_lines_type_hints_dataclasses_and_loggers_work(bundle: Loader) -> None:
    """Tools that go from a class or a function to its module find it under its private name."""
    source = """\
    from __future__ import annotations
    import dataclasses, enum, logging, typing
    log = logging.getLogger(__name__)
    class Colour(enum.Enum):
        RED = 1
    @dataclasses.dataclass
    class Thing:
        colour: Colour
        more: list[Thing] = dataclasses.field(default_factory=list)
    class Pair(typing.NamedTuple):
        left: Thing
    def fail():
        raise ValueError("here")  # the line to show
    """
    module = bundle({"helper.py": source}).module("helper")
    assert typing.get_type_hints(module.Thing)["more"] == list[module.Thing]
    assert dataclasses.asdict(module.Thing(module.Colour.RED)) == {"colour": module.Colour.RED, "more": []}
    assert inspect.getsource(module.fail).startswith("def fail():")
    assert inspect.getmodule(module.Thing) is module
    with pytest.raises(ValueError, match="here") as caught:
        module.fail()
    assert "# the line to show" in "".join(traceback.format_exception(caught.value))
    assert pickle.loads(pickle.dumps(module.Thing(module.Colour.RED))) == module.Thing(module.Colour.RED)


def test_pickles_that_bundle_code_reads_itself_name_the_own_classes(bundle: Loader, tmp_path: Path) -> None:
    """pickle, cloudpickle and joblib, called by a bundle's function, look up helper.Thing in that bundle."""
    joblib = pytest.importorskip("joblib")
    write_files(tmp_path / "host", {"helper.py": "class Thing:\n    who = 'host'"})
    with on_search_path(tmp_path / "host"):
        import helper

        plain = pickle.dumps(helper.Thing())
        joblib.dump(helper.Thing(), tmp_path / "thing.joblib", compress=3)
        source = """
        import io, pickle, joblib, cloudpickle
        from pickle import loads
        def read(data, path, file):
            found = [pickle.loads(data), loads(data), pickle.load(io.BytesIO(data)), cloudpickle.loads(data),
                     pickle.Unpickler(io.BytesIO(data)).load(), joblib.load(path), joblib.load(file)]
            return [thing.who for thing in found]
        """
        files = {"service.py": source}
        first = bundle({**files, "helper.py": "class Thing:\n    who = 'a'"}, "a").module("service")
        second = bundle({**files, "helper.py": "class Thing:\n    who = 'b'"}, "b").module("service")
        for module, who in ((first, "a"), (second, "b")):
            with open(tmp_path / "thing.joblib", "rb") as file:
                assert module.read(plain, tmp_path / "thing.joblib", file) == [who] * 7
                assert not file.closed
        assert pickle.loads(plain).who == "host"


def test_a_namespace_package_is_shared_with_what_is_installed(bundle: Loader, tmp_path: Path) -> None:
    """acme.mine is the bundle's, acme.theirs somebody's installed portion of the same namespace."""
    write_files(tmp_path / "installed", {"acme/theirs.py": "WHO = 'theirs'", "acme/other/__init__.py": "WHO = 'other'"})
    source = (
        "import acme.mine, acme.other\nfrom acme import theirs\nfound = [acme.mine.WHO, acme.other.WHO, theirs.WHO]"
    )
    with on_search_path(tmp_path / "installed"):
        service = bundle({"service.py": source, "acme/mine.py": "WHO = 'mine'"}).module("service")
        assert service.found == ["mine", "other", "theirs"]


def test_a_view_of_a_library_is_that_library_in_all_but_names(bundle: Loader) -> None:
    """importlib, seen by a bundle, still reloads, imports what is installed and keeps its attributes."""
    source = """
    import importlib, pickle, json
    reloaded = importlib.reload(json)
    same = importlib.import_module("json.decoder") is json.decoder
    missing = importlib.util.find_spec("there_is_no_such_module")
    protocol = pickle.HIGHEST_PROTOCOL
    """
    service = bundle({"service.py": "import importlib.util\n" + source.replace("\n    ", "\n")}).module("service")
    assert service.same
    assert service.missing is None
    assert service.protocol == pickle.HIGHEST_PROTOCOL


def test_a_private_name_of_no_loaded_bundle_says_so() -> None:
    """Unpickling an object of a bundle that this process never loaded is a clear ModuleNotFoundError."""
    name = f"{imports.PREFIX}0123456789ab.helper"
    finder = imports.BundleFinder()
    with pytest.raises(ModuleNotFoundError, match="is not loaded in this process"):
        finder.find_spec(name)


def test_an_extension_module_of_a_local_package_is_imported(bundle: Loader, tmp_path: Path) -> None:
    """A compiled module is found by its suffix and loaded from its own file."""
    built_in = importlib.util.find_spec("_crypt") or importlib.util.find_spec("_heapq")
    if built_in is None or built_in.origin is None or not built_in.origin.endswith(".so"):
        pytest.skip("this Python has no small extension module of its own")
    name = built_in.name + importlib.machinery.EXTENSION_SUFFIXES[0]
    content = Path(built_in.origin).read_bytes()
    code = bundle({"pkg/__init__.py": "", f"pkg/{name}": content})
    module = code.module(f"pkg.{built_in.name}")
    assert module.__file__ == str(code.root / "pkg" / name)
