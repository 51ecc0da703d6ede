"""Tests that BentoML's names are there for an old bundle's own code and pickles, at every time, and for nobody else."""

from __future__ import annotations

import importlib
import pickle
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bentobatch.bundle.load import load
from bentobatch.errors import BundleError
from tests.bundle.projects import on_search_path, write_files
from tests.legacy.layout import SERVICE, write_bundle

LATER = """
import importlib
import importlib.util
import pkgutil
import bentoml
from bentoml.adapters import JsonInput

@bentoml.artifacts([])
class Doubler(bentoml.BentoService):
    @bentoml.api(input=JsonInput(), batch=True)
    def predict(self, values):
        import bentoml as inside
        from bentoml.exceptions import BadInput
        import bentoml.types
        assert inside is bentoml
        assert inside.exceptions.BadInput is BadInput
        assert importlib.import_module("bentoml.exceptions").BadInput is BadInput
        assert importlib.import_module(".exceptions", "bentoml").BadInput is BadInput
        assert importlib.util.find_spec("bentoml.adapters") is not None
        assert importlib.util.find_spec("bentoml.no_such") is None
        assert pkgutil.resolve_name("bentoml.exceptions:BadInput") is BadInput
        assert issubclass(BadInput, bentoml.exceptions.BentoMLException)
        return [inside.__version__ for _ in values]
"""


def frame(*values: float) -> pd.DataFrame:
    return pd.DataFrame({"x": list(values)})


def test_a_bundle_loads_and_scores_with_no_bentoml_installed(tmp_path: Path) -> None:
    """Nobody else in the process sees a bentoml, before, while and after."""
    service = load(write_bundle(tmp_path / "old"))
    assert service.predict(frame(1, 2)).tolist() == [2.0, 4.0]
    assert "bentoml" not in sys.modules
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("bentoml")


def test_imports_inside_functions_find_the_names_long_after_loading(tmp_path: Path, installed_bentoml: Path) -> None:
    """By every way to import that a function has, with a real bentoml on the search path, which stays untouched."""
    service = load(write_bundle(tmp_path / "old", LATER))
    assert service.predict([1]) == ["0.13.1"]
    assert not list(installed_bentoml.rglob("touched"))
    assert "bentoml" not in sys.modules


def test_a_bentoml_that_is_imported_already_stays_as_it_is(tmp_path: Path, installed_bentoml: Path) -> None:
    """The process's own bentoml and the bundle's live side by side; neither is put in the other's place."""
    real = importlib.import_module("bentoml")
    try:
        names = set(vars(real))
        service = load(write_bundle(tmp_path / "old", LATER))
        assert service.predict([1]) == ["0.13.1"]
        assert sys.modules["bentoml"] is real
        assert real.__version__ == "1.4.0"
        assert set(vars(real)) == names
        assert (installed_bentoml / "bentoml" / "touched").exists()
        assert not (installed_bentoml / "bentoml" / "adapters" / "touched").exists()
    finally:
        sys.modules.pop("bentoml", None)


def test_a_library_beside_the_bundle_sees_the_installed_bentoml(tmp_path: Path, installed_bentoml: Path) -> None:
    """The names are for the bundle's own code; what that code calls elsewhere imports as ever."""
    write_files(installed_bentoml, {"neighbour_of_old.py": "def version():\n    import bentoml\n    return bentoml\n"})
    service = """
    import bentoml
    from bentoml.adapters import JsonInput

    class Doubler(bentoml.BentoService):
        @bentoml.api(input=JsonInput(), batch=True)
        def predict(self, values):
            import neighbour_of_old
            return [(bentoml.__version__, neighbour_of_old.version().__version__) for _ in values]
    """
    try:
        assert load(write_bundle(tmp_path / "old", service)).predict([1]) == [("0.13.1", "1.4.0")]
    finally:
        for name in ("bentoml", "neighbour_of_old"):
            sys.modules.pop(name, None)


def test_what_a_pickle_names_of_bentoml_is_the_bundles_own(tmp_path: Path, installed_bentoml: Path) -> None:
    """A model may hold BentoML's own objects: results, headers, a module, an exception's class."""
    state = b"}(\x8c\x04data\x8c\x03abc\x8c\x07err_msg\x8c\x00\x8c\x0bhttp_statusK\xc8u"
    result = b"\x8c\x0dbentoml.types\x8c\x0fInferenceResult\x93)\x81" + state + b"b"
    exception = b"\x8c\x12bentoml.exceptions\x8c\x08BadInput\x93"
    subimport = b"\x8c\x19bentoml.utils.cloudpickle\x8c\x09subimport\x93\x8c\x0dbentoml.types\x85R"
    headers = b"\x8c\x0dbentoml.types\x8c\x0bHTTPHeaders\x93]\x8c\x01A\x8c\x01b\x86a\x85R"
    ellipsis = b"\x8c\x19bentoml.utils.cloudpickle\x8c\x0d_gen_ellipsis\x93)R"
    kind = b"\x8c\x19bentoml.utils.cloudpickle\x8c\x0d_builtin_type\x93\x8c\x0aLambdaType\x85R"
    data = b"\x80\x04](" + result + exception + subimport + headers + ellipsis + kind + b"e."
    service = load(write_bundle(tmp_path / "old", model=data))
    made, error, module, kept, dots, function = service.artifacts.model
    assert (made.data, made.http_status) == ("abc", 200)
    assert error.__name__ == "BadInput"
    assert issubclass(error, Exception)
    assert module.InferenceResult is type(made)
    assert kept["a"] == "b"
    assert dots is ...
    assert function is type(lambda: None)
    assert not list(installed_bentoml.rglob("touched"))


def test_pickles_that_the_code_reads_itself_see_the_names_too(tmp_path: Path, installed_bentoml: Path) -> None:
    """By pickle, by BentoML's copy of cloudpickle, and while an api runs."""
    data = b"\x80\x04\x8c\x12bentoml.exceptions\x8c\x08BadInput\x93."
    service = f"""
    import pickle
    import bentoml
    from bentoml.adapters import JsonInput
    from bentoml.exceptions import BadInput
    from bentoml.utils import cloudpickle

    DATA = {data!r}

    class Doubler(bentoml.BentoService):
        @bentoml.api(input=JsonInput(), batch=True)
        def predict(self, values):
            again = cloudpickle.loads(cloudpickle.dumps({{"a": 1}}))
            return [pickle.loads(DATA) is BadInput, cloudpickle.loads(DATA) is BadInput, again == {{"a": 1}}]
    """
    assert load(write_bundle(tmp_path / "old", service)).predict([1]) == [True, True, True]
    assert not list(installed_bentoml.rglob("touched"))


def test_two_old_bundles_and_one_of_ours_live_side_by_side(tmp_path: Path, bundles: Path) -> None:
    """Same module names, same class names, other code, other versions of BentoML: each keeps its own (D2)."""
    text = SERVICE.replace("return df", "from helper import WHO\n        return WHO, bentoml.__version__, df")
    one = write_bundle(tmp_path / "one", text, files={"helper.py": "WHO = 'one'\n"})
    two = write_bundle(
        tmp_path / "two", text, files={"helper.py": "WHO = 'two'\n"}, version="0.12.1", model={"factor": 3}
    )
    first, second, ours = load(one), load(two), load(bundles / "linear")
    for service, who, version, value in ((first, "one", "0.13.1", 2), (second, "two", "0.12.1", 3)) * 2:
        found = service.predict(frame(1))
        assert found[:2] == (who, version)
        assert found[2].tolist() == [value]
    assert ours.predict(pd.DataFrame([[1.0, 1.0, 1.0]], columns=["x0", "x1", "x2"])).tolist() == [-0.5]
    assert type(first) is not type(second)
    code = importlib.import_module("bentobatch.bundle.imports").bundle_of(type(ours).__module__)
    assert "bentoml" not in code.names


def test_a_bundle_of_ours_does_not_see_the_names(tmp_path: Path) -> None:
    """They are for bundles that BentoML wrote; elsewhere `import bentoml` means what is installed, or fails."""
    text = SERVICE.replace("bentoml.", "bentobatch.").replace("import bentoml", "import bentobatch")
    text = text.replace("service.artifacts.common", "frameworks.pickle")
    text = text.replace("return df", "import bentoml\n        return df")
    write_files(tmp_path, {"project/our_own_doubler.py": text})
    with on_search_path(tmp_path / "project"):
        service = importlib.import_module("our_own_doubler").Doubler()
        service.pack("model", {"factor": 2.0}).save_to_dir(tmp_path / "ours")
    load(write_bundle(tmp_path / "old"))
    with pytest.raises(ModuleNotFoundError, match="bentoml"):
        load(tmp_path / "ours").predict(frame(1))


def test_many_threads_import_and_score_at_once(tmp_path: Path) -> None:
    """The first use of each name may happen on any thread; all see the same modules."""
    service = load(write_bundle(tmp_path / "old", LATER))
    start = threading.Barrier(8)
    found: list[Any] = []

    def work() -> None:
        start.wait()
        found.append(service.predict([1, 2]))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [["0.13.1", "0.13.1"]] * 8


def test_a_loaded_service_and_its_class_travel_to_another_process(tmp_path: Path) -> None:
    """As the bundle's path and digest, as with ours (D19)."""
    root = write_bundle(tmp_path / "old")
    service = load(root)
    data = pickle.dumps((service, type(service)))
    code = (
        "import sys, pickle, pandas\n"
        "service, cls = pickle.loads(sys.stdin.buffer.read())\n"
        "assert type(service) is cls\n"
        "print(service.predict(pandas.DataFrame({'x': [21.0]})).tolist(), 'bentoml' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=data,
        capture_output=True,
        check=True,
        cwd=Path(__file__).resolve().parents[2],
    )
    assert done.stdout.split() == [b"[42.0]", b"False"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("import bentoml.yatai.deployment", r"provides no module 'bentoml\.yatai\.deployment'"),
        ("from bentoml.yatai.deployment import store", r"provides no module 'bentoml\.yatai\.deployment'"),
        ("from bentoml import no_such", "cannot import name 'no_such'"),
        ("import bentoml; bentoml.no_such", r"provides no 'no_such' of BentoML's module bentoml"),
    ],
)
def test_a_name_that_is_not_provided_is_told(line: str, message: str, tmp_path: Path, installed_bentoml: Path) -> None:
    """The file and the line, and that it is bentobatch which has it not; a real bentoml does not step in."""
    root = write_bundle(tmp_path / "old", f"{line}\n{SERVICE}")
    with pytest.raises(BundleError, match=message) as caught:
        load(root)
    assert "Doubler/doubler_service.py line 1" in str(caught.value)
    assert not list(installed_bentoml.rglob("touched"))


def test_a_folder_named_bentoml_in_the_bundle_does_not_hide_the_names(tmp_path: Path) -> None:
    """BentoML never put its own code there; what stands there would not run on today's Python."""
    root = write_bundle(tmp_path / "old", files={"bentoml/__init__.py": "raise ImportError('too old')\n"})
    assert load(root).predict(frame(1)).tolist() == [2.0]
