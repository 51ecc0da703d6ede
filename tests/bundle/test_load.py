"""This module tests loading: verified, isolated, without a trace in the bundle or the process, and picklable."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
import yaml

import bentobatch
from bentobatch.bundle.digest import manifest_digest
from bentobatch.bundle.imports import PREFIX
from bentobatch.bundle.load import load, load_again
from bentobatch.bundle.manifest import manifest_text, read_manifest
from bentobatch.errors import BundleError, MissingDependencyError, NoInputError, UsageError
from tests.bundle.projects import on_search_path, project, snapshot, write_files
from tests.bundle.services import SERVICE, files_of, save_service

ROOT = Path(__file__).parents[2]


def plain_state() -> tuple[list[str], set[str]]:
    return list(sys.path), {name for name in sys.modules if not name.startswith(PREFIX)}


def in_another_process(code: str, *arguments: str, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def resealed(bundle: Path, **changes: Any) -> None:
    """Change keys of a manifest and give it a digest that fits, as an attacker or a newer bentobatch could."""
    content = yaml.safe_load((bundle / "bentoml.yml").read_text())
    content.pop("digest")
    (bundle / "bentoml.yml").write_text(manifest_text({**content, **changes}))


def test_a_loaded_service_is_ready(tmp_path: Path) -> None:
    """Name, version, tag, metadata, apis and models are those that were saved."""
    service = bentobatch.load(str(save_service(tmp_path / "p", tmp_path / "b")))
    assert (service.name, service.version, service.tag) == ("Scorer", "v1", "Scorer:v1")
    assert service.artifacts.get("model").metadata == {"who": "a"}
    assert service.predict([1]) == [("a", "late a", "late a", 1)]
    assert [api.name for api in service.inference_apis] == ["predict"]
    assert type(service).__module__.startswith(PREFIX)


def test_two_bundles_with_the_same_modules_live_in_one_process_with_their_host(tmp_path: Path) -> None:
    """D2: helper.py, imports inside functions and pickles that name helper.Thing, in two bundles and the host project."""
    first = save_service(tmp_path / "pa", tmp_path / "a", "a")
    second = save_service(tmp_path / "pb", tmp_path / "b", "b")
    with on_search_path(write_files(tmp_path / "host", {"helper.py": "WHO = 'host'", "late.py": "WHO = 'host'"})):
        import helper  # type: ignore[import-not-found]

        before = plain_state()
        a, b = bentobatch.load(first), bentobatch.load(second)
        assert b.predict([1]) == [("b", "late b", "late b", 1)]
        assert a.predict([1]) == [("a", "late a", "late a", 1)]
        assert type(a.artifacts.model) is not type(b.artifacts.model)
        assert plain_state() == before
        assert helper.WHO == "host"


def test_threads_may_load_different_bundles_at_once(tmp_path: Path) -> None:
    """Each thread's pickles and imports resolve to its own bundle."""
    bundles = {who: save_service(tmp_path / f"p{who}", tmp_path / who, who) for who in ("a", "b", "c")}
    answers: list[tuple[str, Any]] = []
    barrier = threading.Barrier(12)

    def work(who: str) -> None:
        barrier.wait()
        answers.append((who, bentobatch.load(bundles[who]).predict([0])))

    threads = [threading.Thread(target=work, args=("abc"[i % 3],)) for i in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 12
    assert all(answer == [(who, f"late {who}", f"late {who}", 0)] for who, answer in answers)


def test_functions_that_a_pickle_holds_by_value_import_the_bundles_own_modules(tmp_path: Path) -> None:
    """cloudpickle stores a notebook's function with its code; `import helper` in it means the bundle's helper."""
    made = tmp_path / "made.pkl"
    write_files(tmp_path / "p", files_of("a"))
    # made in another process, where the function stands in __main__ as in a notebook
    script = """
import sys; sys.path.insert(0, sys.argv[1])
import helper, service
class Model:
    def who(self):
        import late
        from helper import WHO
        return late.WHO, WHO, helper.WHO
service.Scorer().pack("model", Model()).save_to_dir(sys.argv[2])
"""
    in_another_process(script, str(tmp_path / "p"), str(tmp_path / "b"), cwd=tmp_path)
    assert not made.exists()
    with on_search_path(write_files(tmp_path / "host", {"helper.py": "WHO = 'host'", "late.py": "WHO = 'host'"})):
        assert bentobatch.load(tmp_path / "b").predict([1])[0][2] == ("late a", "a", "a")


def test_loading_writes_nothing_into_the_bundle(tmp_path: Path) -> None:
    """No .pyc, no lock, no mtime changes, though the folder could be written."""
    bundle = save_service(tmp_path / "p", tmp_path / "b")
    before = snapshot(bundle)
    in_another_process("import sys, bentobatch\nbentobatch.load(sys.argv[1]).predict([1])", str(bundle), cwd=tmp_path)
    bentobatch.load(bundle).predict([1])
    assert snapshot(bundle) == before


def test_a_read_only_bundle_loads(tmp_path: Path) -> None:
    """As from a mounted image or another user's repository."""
    bundle = save_service(tmp_path / "p", tmp_path / "b")
    paths = [bundle, *bundle.rglob("*")]
    for path in paths:
        path.chmod(stat.S_IMODE(path.stat().st_mode) & ~0o222)
    try:
        assert bentobatch.load(bundle).predict([1]) == [("a", "late a", "late a", 1)]
    finally:
        for path in paths:
            path.chmod(stat.S_IMODE(path.lstat().st_mode) | 0o200)


CANARY = "import pathlib; pathlib.Path({canary!r}).touch()\n"


def tamper_content(bundle: Path) -> str:
    (bundle / "Scorer/late.py").write_text("WHO = 'evil a'")  # same size
    return "Scorer/late.py was changed"


def tamper_longer(bundle: Path) -> str:
    with (bundle / "Scorer/artifacts/model.pkl").open("ab") as file:
        file.write(b"x")
    return "Scorer/artifacts/model.pkl was changed"


def tamper_missing(bundle: Path) -> str:
    (bundle / "docs.json").unlink()
    return "docs.json is missing"


def tamper_link(bundle: Path) -> str:
    real = bundle / "Scorer/helper.py"
    real.rename(bundle / "elsewhere.py")
    real.symlink_to("../elsewhere.py")
    return "Scorer/helper.py is a symbolic link"


def tamper_folder_link(bundle: Path) -> str:
    (bundle / "Scorer").rename(bundle / "Other")
    (bundle / "Scorer").symlink_to("Other")
    return "Scorer/.* is a symbolic link or stands behind one"


def tamper_folder(bundle: Path) -> str:
    (bundle / "docs.json").unlink()
    (bundle / "docs.json").mkdir()
    return "docs.json is no regular file"


def tamper_fifo(bundle: Path) -> str:
    (bundle / "docs.json").unlink()
    os.mkfifo(bundle / "docs.json")
    return "docs.json is no regular file"


def tamper_manifest(bundle: Path) -> str:
    text = (bundle / "bentoml.yml").read_text()
    (bundle / "bentoml.yml").write_text(text.replace("service_version: v1", "service_version: v2"))
    return r"bentoml\.yml was changed"


@pytest.mark.parametrize("tamper", [value for name, value in sorted(globals().items()) if name.startswith("tamper_")])
def test_a_changed_bundle_is_refused_by_the_files_name_before_any_code_of_it_runs(tmp_path: Path, tamper: Any) -> None:
    """S04: every listed file is hashed first; a changed, missing or replaced one stops the load."""
    canary = tmp_path / "canary"
    bundle = save_service(tmp_path / "p", tmp_path / "b", service_py=SERVICE)
    source = bundle / "Scorer/service.py"
    source.write_text(CANARY.format(canary=str(canary)) + source.read_text())
    entry = {"size": source.stat().st_size, "sha256": __import__("hashlib").sha256(source.read_bytes()).hexdigest()}
    resealed(bundle, files={**read_manifest(bundle).files, "Scorer/service.py": entry})
    shutil.copytree(bundle, tmp_path / "sound", symlinks=True)
    message = tamper(bundle)
    with pytest.raises(BundleError, match=message):
        bentobatch.load(bundle)
    assert not canary.exists()
    bentobatch.load(tmp_path / "sound")
    assert canary.exists()  # the canary sings where the bundle is sound


def test_extra_files_do_no_harm_and_are_never_imported(tmp_path: Path) -> None:
    """__pycache__, build/ and *.egg-info appear in folders that are used; a planted module or .pyc has no effect."""
    bundle = save_service(tmp_path / "p", tmp_path / "b")
    write_files(
        bundle,
        {
            "build/lib/x.py": "raise SystemExit",
            "Scorer.egg-info/PKG-INFO": "",
            "Scorer/late/__init__.py": "WHO = 'planted'",
            "Scorer/json.py": "raise SystemExit",
            "helper.py": "WHO = 'planted'",
        },
    )
    tag = sys.implementation.cache_tag
    write_files(bundle, {f"Scorer/__pycache__/late.{tag}.pyc": b"rubbish", "Scorer/helper.pyc": b"rubbish"})
    assert bentobatch.load(bundle).predict([1]) == [("a", "late a", "late a", 1)]


def test_the_digest_that_is_asked_for_decides(tmp_path: Path) -> None:
    """A pinned digest is compared before anything else is read; sha256: before it is taken."""
    bundle = save_service(tmp_path / "p", tmp_path / "b")
    digest = read_manifest(bundle).digest
    assert bentobatch.load(bundle, digest=digest).version == "v1"
    assert bentobatch.load(bundle, digest=f"sha256:{digest.upper()}").version == "v1"
    with pytest.raises(BundleError, match="not 0000"):
        bentobatch.load(bundle, digest="0" * 64)


def test_no_pickle_refuses_every_pickled_model(tmp_path: Path) -> None:
    """S05: allow_pickle=False, also for a custom artifact that calls pickle itself."""
    canary = tmp_path / "canary"
    bundle = save_service(tmp_path / "p", tmp_path / "b")
    with pytest.raises(BundleError, match="pickles are refused"):
        bentobatch.load(bundle, allow_pickle=False)
    source = f"""
    import pickle
    import bentobatch
    from bentobatch.adapters import JsonInput
    from bentobatch.frameworks.base import BentoServiceArtifact

    class Own(BentoServiceArtifact):
        def save_model(self, folder):
            (folder / f"{{self.name}}.own").write_bytes(pickle.dumps(self.get()))
        def load_model(self, folder):
            import pathlib
            pathlib.Path({str(canary)!r}).touch()
            return pickle.loads((folder / f"{{self.name}}.own").read_bytes())

    @bentobatch.artifacts([Own("model")])
    class Service(bentobatch.BentoService):
        @bentobatch.api(input=JsonInput(), batch=True)
        def predict(self, values):
            return [self.artifacts.model] * len(values)
    """
    with project(tmp_path / "p2", {"service.py": source}) as module:
        path = module.Service().pack("model", "m").save_to_dir(tmp_path / "own")
    with pytest.raises(BundleError, match="pickles are refused"):
        bentobatch.load(path, allow_pickle=False)
    assert not canary.exists()
    assert bentobatch.load(path).predict([1]) == ["m"]


def test_a_custom_artifact_that_unpickles_by_itself_finds_the_own_classes(tmp_path: Path) -> None:
    """pickle in the bundle's code looks up helper.Thing in the bundle, in load_model as anywhere."""
    source = """
    import pickle
    import bentobatch
    from bentobatch.adapters import JsonInput
    from bentobatch.frameworks.base import BentoServiceArtifact
    import helper

    class Own(BentoServiceArtifact):
        def save_model(self, folder):
            with open(folder / f"{self.name}.own", "wb") as file:
                pickle.dump(self.get(), file)
        def load_model(self, folder):
            with open(folder / f"{self.name}.own", "rb") as file:
                return pickle.load(file)

    @bentobatch.artifacts([Own("model")])
    class Service(bentobatch.BentoService):
        @bentobatch.api(input=JsonInput(), batch=True)
        def predict(self, values):
            return [self.artifacts.model.who()] * len(values)
    """
    with project(tmp_path / "p", {**files_of("a"), "service.py": source}) as module:
        path = module.Service().pack("model", module.helper.Thing()).save_to_dir(tmp_path / "b")
    assert bentobatch.load(path).predict([1]) == ["late a"]


def test_d18_a_service_name_other_than_the_class_name_loads(tmp_path: Path) -> None:
    """_bento_service_name names the service and its folder; the class is found by its own name."""
    source = files_of("a")["service.py"].replace(
        "    @bentobatch.api", "    _bento_service_name = 'Other'\n    @bentobatch.api"
    )
    bundle = save_service(tmp_path / "p", tmp_path / "b", service_py=source)
    assert (bundle / "Other" / "service.py").exists()
    service = bentobatch.load(bundle)
    assert (service.name, type(service).__name__) == ("Other", "Scorer")


def test_a_service_in_a_package_with_relative_imports_and_data_files_loads(tmp_path: Path) -> None:
    """mypkg/service.py: the package goes along with its data files and works under its private name."""
    source = (
        files_of("a")["service.py"]
        .replace("import helper", "from . import helper\nfrom .sub.words import WORDS")
        .replace("import late\n", "from mypkg import late\n")
        .replace("self.artifacts.model.who()", "WORDS")
    )
    files = {
        "mypkg/__init__.py": "",
        "mypkg/service.py": source,
        "mypkg/helper.py": "WHO = 'pkg'",
        "mypkg/late.py": "WHO = 'late pkg'",
        "mypkg/sub/__init__.py": "",
        "mypkg/sub/words.py": "from pathlib import Path\nWORDS = Path(__file__).with_name('words.txt').read_text()",
        "mypkg/sub/words.txt": "some words",
    }
    with project(tmp_path / "p", files, "mypkg.service") as module:
        path = module.Scorer().pack("model", 1).save_to_dir(tmp_path / "b")
    assert read_manifest(Path(path)).content["metadata"]["module_file"] == "mypkg/service.py"
    shutil.rmtree(tmp_path / "p")
    assert bentobatch.load(path).predict([1]) == [("pkg", "late pkg", "some words", 1)]


def test_loading_twice_gives_two_services_of_one_class(tmp_path: Path) -> None:
    """The code is imported once for a digest; the models are each service's own."""
    bundle = save_service(tmp_path / "p", tmp_path / "b")
    first, second = bentobatch.load(bundle), bentobatch.load(bundle)
    assert first is not second
    assert type(first) is type(second)
    assert first.artifacts.model is not second.artifacts.model
    assert type(first.artifacts.model) is type(second.artifacts.model)


def test_a_copy_serves_when_the_first_folder_is_gone(tmp_path: Path) -> None:
    """Code that was imported from a folder that does not exist any more is imported anew from the copy."""
    bundle = save_service(tmp_path / "p", tmp_path / "b")
    shutil.copytree(bundle, tmp_path / "copy")
    bentobatch.load(bundle)
    shutil.rmtree(bundle)
    service = bentobatch.load(tmp_path / "copy")
    assert sys.modules[type(service).__module__].__file__ == str(tmp_path / "copy/Scorer/service.py")
    assert service.predict([1]) == [("a", "late a", "late a", 1)]


@pytest.mark.parametrize("pickler", [pickle, cloudpickle])
def test_d19_a_service_and_its_class_pickle_into_another_process(tmp_path: Path, pickler: Any) -> None:
    """By path and digest: the other process needs the bundle, and nothing of the first process."""
    service = bentobatch.load(save_service(tmp_path / "p", tmp_path / "b"))
    data = tmp_path / "data.pkl"
    data.write_bytes(pickler.dumps((service, type(service), service.predict)))
    code = """
import pickle, sys, json
service, cls, predict = pickle.load(open(sys.argv[1], "rb"))
assert type(service) is cls and predict.__self__ is service
print(json.dumps([service.predict([1]), predict([2]), service.tag]))
"""
    answer = json.loads(in_another_process(code, str(data), cwd=tmp_path))
    assert answer == [[["a", "late a", "late a", 1]], [["a", "late a", "late a", 2]], "Scorer:v1"]
    (tmp_path / "b/docs.json").write_text("{}")
    with pytest.raises(BundleError, match=r"docs\.json was changed"):
        pickle.loads(data.read_bytes())


def test_a_pickled_service_remembers_that_pickles_were_refused(tmp_path: Path) -> None:
    """allow_pickle travels along."""
    source = SERVICE.replace("frameworks.pickle import PickleArtifact", "frameworks.json import JSONArtifact").replace(
        "PickleArtifact", "JSONArtifact"
    )
    with project(tmp_path / "p", {**files_of("a"), "service.py": source}) as module:
        path = module.Scorer().pack("model", {"x": 1}).save_to_dir(tmp_path / "b")
    service = bentobatch.load(path, allow_pickle=False)
    assert service.__reduce_ex__(4)[1] == (str(tmp_path / "b"), read_manifest(Path(path)).digest, False)
    assert pickle.loads(pickle.dumps(service)).artifacts.model == {"x": 1}


def test_a_loaded_service_that_is_packed_anew_is_its_bundles_no_more(tmp_path: Path) -> None:
    """Loading it again from the bundle would bring the old model back."""
    service = bentobatch.load(save_service(tmp_path / "p", tmp_path / "b"))
    assert service.__reduce_ex__(4)[0] is load_again
    service.pack("model", "new")
    assert service.__reduce_ex__(4)[0] is not load_again


def test_code_that_fails_is_one_line_with_its_place(tmp_path: Path) -> None:
    """What the code raises at import names the bundle, the file and the line; the next load tries again."""
    marker = tmp_path / "marker"
    there = f"pathlib.Path({str(marker)!r}).exists()"
    helper = f"import pathlib\nclass Thing: pass\nif {there}:\n    raise RuntimeError('no\\nluck')"
    bundle = save_service(tmp_path / "p", tmp_path / "b", helper_py=helper)
    marker.touch()
    with pytest.raises(BundleError, match=r"at Scorer/helper\.py line 4 \(RuntimeError: no luck\)") as caught:
        bentobatch.load(bundle)
    assert "\n" not in str(caught.value)
    marker.unlink()
    assert bentobatch.load(bundle).version == "v1"


@pytest.mark.parametrize("raised", ["SystemExit(3)", "KeyError('x')", "ImportError('broken')"])
def test_whatever_the_code_raises_becomes_a_bundle_error(tmp_path: Path, raised: str) -> None:
    """sys.exit at import does not end the process."""
    helper = f"import sys\nclass Thing: pass\nif '{PREFIX}' in __name__:\n    raise {raised}"
    bundle = save_service(tmp_path / "p", tmp_path / "b", helper_py=helper)
    with pytest.raises(BundleError, match=re.escape(raised.partition("(")[0])):
        bentobatch.load(bundle)


def test_a_missing_library_is_named_with_the_way_to_install_it(tmp_path: Path) -> None:
    """The bundle's own requirements.txt has the pinned version."""
    helper = f"class Thing: pass\nif '{PREFIX}' in __name__:\n    import no_such_library.sub"
    bundle = save_service(tmp_path / "p", tmp_path / "b", helper_py=helper)
    with pytest.raises(MissingDependencyError, match=r"module no_such_library.*pip install -r .*requirements\.txt"):
        bentobatch.load(bundle)


def test_no_bundle_at_all_is_no_input(tmp_path: Path) -> None:
    """A folder without bentoml.yml, and no folder, are told apart; a URL is not read without its digest."""
    with pytest.raises(NoInputError, match="there is no such folder"):
        bentobatch.load(tmp_path / "nothing")
    with pytest.raises(NoInputError, match=r"the folder has no bentoml\.yml"):
        bentobatch.load(tmp_path)
    with pytest.raises(UsageError, match="pin"):
        bentobatch.load("s3://bucket/bundle")


def test_a_saved_service_is_loaded_by_its_tag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As NAME:VERSION, and as NAME:latest."""
    monkeypatch.setenv("BENTOBATCH_HOME", str(tmp_path / "home"))
    bundle = read_manifest(save_service(tmp_path / "p", tmp_path / "home" / "repository" / "first" / "v1"))
    place = tmp_path / "home" / "repository" / bundle.service_name
    (tmp_path / "home" / "repository" / "first").rename(place)
    for version in ("v1", "latest"):
        assert bentobatch.load(f"{bundle.service_name}:{version}").name == bundle.service_name
    with pytest.raises(NoInputError, match="v2"):
        bentobatch.load(f"{bundle.service_name}:v2")


def test_a_bundle_that_names_something_else_than_a_service_is_refused(tmp_path: Path) -> None:
    """The manifest's class must be a service class."""
    bundle = save_service(tmp_path / "p", tmp_path / "b")
    resealed(bundle, metadata={**read_manifest(bundle).content["metadata"], "class_name": "JsonInput"})
    with pytest.raises(BundleError, match="is no service class"):
        bentobatch.load(bundle)


def test_a_link_to_a_bundle_is_followed(tmp_path: Path) -> None:
    """Only what lies below the bundle's folder must hold no links."""
    bundle = save_service(tmp_path / "p", tmp_path / "b")
    (tmp_path / "current").symlink_to(bundle)
    assert load(tmp_path / "current").version == "v1"
    assert manifest_digest(yaml.safe_load((bundle / "bentoml.yml").read_text())) == read_manifest(bundle).digest
