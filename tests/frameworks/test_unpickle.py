"""This module tests the one place that unpickles."""

from __future__ import annotations

import builtins
import collections
import contextvars
import io
import os
import pickle
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import joblib
import numpy as np
import pytest

from bentobatch.errors import BundleError, MissingDependencyError
from bentobatch.frameworks.unpickle import (
    class_resolver,
    dump_joblib,
    dump_pickle,
    function_builtins,
    load_joblib,
    load_pickle,
    modules_named_by,
    pickles_refused,
)

LOADERS = [(dump_pickle, load_pickle), (dump_joblib, load_joblib)]


def within(setting: contextvars.ContextVar[Any], value: Any, call: Callable[[], Any]) -> Any:
    """``call()`` while the context variable has the value."""
    context = contextvars.copy_context()
    context.run(setting.set, value)
    return context.run(call)


class Canary:
    """A pickle of it makes a folder when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


class Thing:
    """A class of this module."""

    def __init__(self, value: int = 0) -> None:
        self.value = value


def helper_thing(value: int, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An instance of ``unpickle_helper.Thing``; the module is gone with the monkeypatch, or by delitem."""
    module = types.ModuleType("unpickle_helper")
    cls = type("Thing", (), {"__module__": "unpickle_helper", "__qualname__": "Thing"})
    module.Thing = cls  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "unpickle_helper", module)
    thing = cls()
    thing.value = value
    return thing


@pytest.mark.parametrize(("dump", "load"), LOADERS)
def test_the_canary_sings_when_pickles_are_loaded(dump: Any, load: Any, tmp_path: Path) -> None:
    """So that the next test can fail."""
    dump({"x": Canary(tmp_path / "canary")}, tmp_path / "model.pkl")
    load(tmp_path / "model.pkl")
    assert (tmp_path / "canary").exists()


@pytest.mark.parametrize("name", ["model.pkl", "model.joblib", "model.txt", "model.ubj", "model"])
@pytest.mark.parametrize(("dump", "load"), LOADERS)
def test_no_pickle_runs_nothing_whatever_the_file_is_called(dump: Any, load: Any, name: str, tmp_path: Path) -> None:
    """--no-pickle: an error that names the artifact and the file; no sniffing, no fallback."""
    dump({"x": Canary(tmp_path / "canary")}, tmp_path / name)
    with pytest.raises(BundleError, match="SomeArtifact 'm' is stored as a pickle") as caught:
        within(pickles_refused, True, lambda: load(tmp_path / name, "SomeArtifact 'm'"))
    assert str(tmp_path / name) in str(caught.value)
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("compress", [0, 3, ("xz", 1)])
def test_looking_at_the_names_runs_nothing(tmp_path: Path, compress: Any) -> None:
    """modules_named_by follows the opcodes on stand-ins, nested arrays of objects included."""
    canary = Canary(tmp_path / "canary")
    model = {"x": canary, "y": np.array([canary, None], dtype=object), "z": np.arange(10)}
    joblib.dump(model, tmp_path / "model.pkl", compress=compress)
    (tmp_path / "plain.pkl").write_bytes(cloudpickle.dumps(model))
    assert os.mkdir.__module__ in modules_named_by(tmp_path / "model.pkl")
    assert os.mkdir.__module__ in modules_named_by(tmp_path / "plain.pkl")
    assert not (tmp_path / "canary").exists()


def test_looking_at_the_names_imports_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that is not here is named all the same."""
    dump_pickle(helper_thing(1, monkeypatch), tmp_path / "model.pkl")
    monkeypatch.delitem(sys.modules, "unpickle_helper")
    assert modules_named_by(tmp_path / "model.pkl") == {"unpickle_helper"}
    assert "unpickle_helper" not in sys.modules


@pytest.mark.parametrize("protocol", range(6))
def test_names_are_found_in_every_protocol(protocol: int, tmp_path: Path) -> None:
    """GLOBAL, STACK_GLOBAL, and names that come from the memo."""
    model = [Thing(1), Thing(2), collections.OrderedDict(a=Thing(3))]
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(model, protocol=protocol))
    assert {"collections", Thing.__module__.partition(".")[0]} <= modules_named_by(tmp_path / "model.pkl")


def test_modules_of_functions_by_value_are_found(tmp_path: Path) -> None:
    """Those in its globals, those that its body imports, and those of nested functions."""
    code = (
        "import json, xml.sax\n"
        "def outer(x):\n"
        "    import csv\n"
        "    def inner():\n"
        "        from wave import open\n"
        "        return xml.sax, open\n"
        "    return json.dumps(x), csv, inner\n"
    )
    space: dict[str, Any] = {"__name__": "no_such_module_of_the_test"}
    exec(code, space)
    dump_pickle(space["outer"], tmp_path / "model.pkl")
    assert {"json", "csv", "wave", "xml", "cloudpickle"} <= modules_named_by(tmp_path / "model.pkl")


def test_arrays_of_all_kinds_are_passed_over(tmp_path: Path) -> None:
    """What comes after the raw data of an array is found: lengths are known for every dtype and shape."""
    arrays = [
        np.arange(7, dtype="i1"),
        np.array(5.0),
        np.zeros((0, 3)),
        np.asfortranarray(np.ones((3, 4))),
        np.array(["abc", "é"]),
        np.array([b"x"]),
        np.array(["2026-01-01"], dtype="M8[ns]"),
        np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", ">f8")]),
        np.rec.array([(1, "x")], dtype=[("a", "i4"), ("b", "U3")]),
        np.zeros(300_000),
        np.ones((2, 2)).view(np.matrix),
        np.array([Thing(1), "x"], dtype=object),
    ]
    for model in (*arrays, arrays):
        joblib.dump([model, Thing(9)], tmp_path / "model.pkl")
        named = modules_named_by(tmp_path / "model.pkl")
        assert Thing.__module__.partition(".")[0] in named
        (tmp_path / "plain.pkl").write_bytes(pickle.dumps([model, Thing(9)]))
        assert Thing.__module__.partition(".")[0] in modules_named_by(tmp_path / "plain.pkl")


@pytest.mark.parametrize("content", [b"", b"text", b"\x80\x05", b"\x80\x05]", b"x\x9c\x00\x00", b"\x1f\x8b\x08broken"])
def test_what_is_no_pickle_is_one_line(content: bytes, tmp_path: Path) -> None:
    """BundleError that names the file, from the reader of names and from both loaders."""
    path = tmp_path / "model.pkl"
    path.write_bytes(content)
    for read in (modules_named_by, load_pickle, load_joblib):
        with pytest.raises(BundleError, match=r"model\.pkl") as caught:
            read(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.99])
def test_a_truncated_file_is_no_endless_loop(keep: float, tmp_path: Path) -> None:
    """Large bytes and raw arrays that end too early."""
    whole = io.BytesIO()
    joblib.dump(np.zeros(400_000), whole)
    for content in (whole.getvalue(), pickle.dumps(bytearray(3 << 20), protocol=5)):
        (tmp_path / "model.pkl").write_bytes(content[: int(len(content) * keep)])
        with pytest.raises(BundleError, match=r"model\.pkl"):
            modules_named_by(tmp_path / "model.pkl")


@pytest.mark.parametrize(("dump", "load"), LOADERS)
def test_the_resolver_is_asked_first_and_sys_modules_stays(
    dump: Any, load: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pickle that names helper.Thing gets the bundle's own, also inside an array of objects."""
    thing = helper_thing(7, monkeypatch)
    model = {"one": thing, "array": np.array([thing, None], dtype=object), "numbers": np.arange(3.0)}
    dump(model, tmp_path / "model.pkl")
    monkeypatch.delitem(sys.modules, "unpickle_helper")

    def resolver(module: str, name: str) -> Any:
        return Thing if (module, name) == ("unpickle_helper", "Thing") else NotImplemented

    loaded = within(class_resolver, resolver, lambda: load(tmp_path / "model.pkl"))
    assert (type(loaded["one"]), loaded["one"].value) == (Thing, 7)
    assert type(loaded["array"][0]) is Thing
    assert loaded["numbers"].tolist() == [0.0, 1.0, 2.0]
    assert "unpickle_helper" not in sys.modules


@pytest.mark.parametrize("compress", [3, ("gzip", 3), ("lzma", 1)])
def test_the_resolver_is_asked_in_compressed_files(
    compress: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same through every compressor."""
    array = np.array([helper_thing(7, monkeypatch)], dtype=object)
    joblib.dump([array, np.arange(1000)], tmp_path / "model.pkl", compress=compress)
    monkeypatch.delitem(sys.modules, "unpickle_helper")
    loaded = within(
        class_resolver,
        lambda module, _name: Thing if module == "unpickle_helper" else NotImplemented,
        lambda: load_joblib(tmp_path / "model.pkl"),
    )
    assert type(loaded[0][0]) is Thing
    np.testing.assert_array_equal(loaded[1], np.arange(1000))


def test_arrays_of_a_foreign_byte_order_become_native(tmp_path: Path) -> None:
    """As joblib.load does it: a bundle saved on another machine."""
    joblib.dump(np.arange(3, dtype=">f8"), tmp_path / "model.pkl")
    loaded = load_joblib(tmp_path / "model.pkl")
    assert loaded.dtype.isnative
    np.testing.assert_array_equal(loaded, [0.0, 1.0, 2.0])


@pytest.mark.parametrize(("dump", "load"), LOADERS)
def test_a_missing_module_says_what_to_install(
    dump: Any, load: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BundleError with the artifact, the file and the module; the original is its cause."""
    dump(helper_thing(1, monkeypatch), tmp_path / "model.pkl")
    monkeypatch.delitem(sys.modules, "unpickle_helper")
    with pytest.raises(BundleError, match=r"A 'm'.*model\.pkl needs the module unpickle_helper.*pip install") as caught:
        load(tmp_path / "model.pkl", "A 'm'")
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_a_missing_library_of_an_extra_names_the_extra(tmp_path: Path) -> None:
    """scikit-learn is not installed where the bundle is run."""
    from sklearn.svm import SVC

    dump_pickle(SVC(), tmp_path / "model.pkl")
    installed = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "sklearn"}
    finder = NoSklearn()
    for name in installed:
        del sys.modules[name]
    sys.meta_path.insert(0, finder)
    try:
        with pytest.raises(MissingDependencyError, match=r"PickleArtifact 'm'.*pip install bentobatch\[sklearn\]"):
            load_pickle(tmp_path / "model.pkl", "PickleArtifact 'm'")
    finally:
        sys.meta_path.remove(finder)
        sys.modules.update(installed)


class NoSklearn:
    """A finder of modules that finds scikit-learn nowhere, as where it is not installed."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name == "sklearn":
            raise ModuleNotFoundError("No module named 'sklearn'", name=name)


def test_another_version_of_a_library_is_not_called_missing(tmp_path: Path) -> None:
    """A module of scikit-learn that this version does not have."""
    (tmp_path / "model.pkl").write_bytes(b"csklearn.no_such_part\nThing\n.")
    with pytest.raises(BundleError, match=r"needs the module sklearn\.no_such_part.*version") as caught:
        load_pickle(tmp_path / "model.pkl")
    assert not isinstance(caught.value, MissingDependencyError)


class Exploding:
    def __setstate__(self, state: Any) -> None:
        raise ZeroDivisionError("of the class itself")


@pytest.mark.parametrize(("dump", "load"), LOADERS)
def test_whatever_a_class_raises_is_told_with_the_file(dump: Any, load: Any, tmp_path: Path) -> None:
    """One line, the original as its cause."""
    exploding = Exploding()
    exploding.__dict__["x"] = 1
    dump(exploding, tmp_path / "model.pkl")
    with pytest.raises(BundleError, match=r"model\.pkl cannot be loaded \(ZeroDivisionError: of the class") as caught:
        load(tmp_path / "model.pkl")
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def bundle_builtins(**modules: Any) -> dict[str, Any]:
    """Builtins whose __import__ knows modules that sys.modules does not, as a bundle loader makes them."""

    def find(name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0) -> Any:
        return modules[name] if name in modules else builtins.__import__(name, globals, locals, fromlist, level)

    return {**vars(builtins), "__import__": find}


def helper_module(answer: int) -> types.ModuleType:
    module = types.ModuleType("unpickle_helper")
    module.answer = answer  # type: ignore[attr-defined]
    return module


CODE_BY_VALUE = """
def function():
    import unpickle_helper
    def nested():
        import unpickle_helper
        return unpickle_helper.answer
    return unpickle_helper.answer + nested()

class Class:
    def method(self):
        import unpickle_helper
        return unpickle_helper.answer
"""


@pytest.fixture
def by_value() -> dict[str, Any]:
    """A function and a class that can only be pickled by value."""
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(CODE_BY_VALUE, space)
    return space


def test_functions_by_value_import_the_bundles_modules_later(tmp_path: Path, by_value: dict[str, Any]) -> None:
    """When they are called, long after the load, nested functions included; two bundles do not mix."""
    dump_pickle(by_value["function"], tmp_path / "model.pkl")
    loaded = []
    for answer in (1, 20):
        own = bundle_builtins(unpickle_helper=helper_module(answer))
        loaded.append(within(function_builtins, own, lambda: load_pickle(tmp_path / "model.pkl")))
    assert [function() for function in loaded] == [2, 40]
    with pytest.raises(ModuleNotFoundError):
        load_pickle(tmp_path / "model.pkl")()


def test_classes_by_value_are_each_bundles_own(tmp_path: Path, by_value: dict[str, Any]) -> None:
    """cloudpickle alone would give both bundles one class, whose methods import from the one loaded last."""
    dump_pickle(by_value["Class"](), tmp_path / "model.pkl")
    environments = [bundle_builtins(unpickle_helper=helper_module(answer)) for answer in (1, 2)]
    first, second = (
        within(function_builtins, each, lambda: load_pickle(tmp_path / "model.pkl")) for each in environments
    )
    assert (first.method(), second.method()) == (1, 2)
    again = within(function_builtins, environments[0], lambda: load_pickle(tmp_path / "model.pkl"))
    assert type(again) is type(first)  # two artifacts of one bundle do share their classes


def test_a_module_in_the_globals_of_a_function_is_the_bundles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """cloudpickle refers to it as a whole and would import it by its plain name."""
    module = helper_module(0)
    monkeypatch.setitem(sys.modules, "unpickle_helper", module)
    space: dict[str, Any] = {"__name__": "__main__", "unpickle_helper": module}
    exec("def function():\n    return unpickle_helper.answer", space)
    dump_pickle(space["function"], tmp_path / "model.pkl")
    assert "unpickle_helper" in modules_named_by(tmp_path / "model.pkl")
    monkeypatch.delitem(sys.modules, "unpickle_helper")
    own = bundle_builtins(unpickle_helper=helper_module(5))
    assert within(function_builtins, own, lambda: load_pickle(tmp_path / "model.pkl"))() == 5
    assert "unpickle_helper" not in sys.modules


def test_a_recursive_function_survives(tmp_path: Path) -> None:
    """cloudpickle sets its globals after making it, and puts its own builtins there once more."""
    space: dict[str, Any] = {"__name__": "__main__"}
    exec("def f(n):\n    import unpickle_helper\n    return unpickle_helper.answer if n == 0 else f(n - 1)", space)
    dump_pickle(space["f"], tmp_path / "model.pkl")
    own = bundle_builtins(unpickle_helper=helper_module(5))
    function = within(function_builtins, own, lambda: load_pickle(tmp_path / "model.pkl"))
    assert function(3) == 5
    assert function.__globals__["__builtins__"] is own


def test_importing_the_module_needs_nothing_heavy() -> None:
    """``import bentobatch`` reaches it."""
    code = (
        "import sys, bentobatch.frameworks.unpickle\n"
        "print([m for m in ('numpy', 'joblib', 'cloudpickle', 'pyarrow') if m in sys.modules])"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == "[]"
