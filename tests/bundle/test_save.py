"""This module tests what a saved bundle holds, and that half a bundle is never seen."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import bentobatch
from bentobatch.bundle import save, staging
from bentobatch.bundle.manifest import read_manifest
from bentobatch.bundle.own_wheel import own_wheel
from bentobatch.errors import OutputError, UsageError
from tests.bundle.projects import on_search_path, project, write_files
from tests.bundle.services import files_of, save_service


def listing(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_the_folder_holds_code_models_manifest_and_nothing_unrelated(tmp_path: Path) -> None:
    """The big file beside service.py stays at home; every file is in the manifest but the manifest itself."""
    bundle = save_service(tmp_path / "p", tmp_path / "bundles" / "deep" / "b")
    wheel = f"bundled_pip_dependencies/{own_wheel().name}"
    assert listing(bundle) == [
        "Dockerfile", "README.md", "Scorer/__init__.py", "Scorer/artifacts/model.pkl", "Scorer/helper.py",
        "Scorer/late.py", "Scorer/service.py", "bentobatch-init.sh", "bentobatch_build.py", "bentobatch_package.json",
        "bentoml.yml", wheel, "constraints.txt", "docker-entrypoint.sh", "docs.json", "environment.yml",
        "pyproject.toml", "python_version",
        "requirements-server.txt", "requirements.txt",
    ]  # fmt: skip
    assert sorted(read_manifest(bundle).files) == [name for name in listing(bundle) if name != "bentoml.yml"]
    assert sum(path.stat().st_size for path in bundle.rglob("*") if path != bundle / wheel) < 200_000


def test_the_manifest_has_the_keys_of_bentoml_and_ours(tmp_path: Path) -> None:
    """bentoml.yml can be read by whoever knows BentoML's, and says what a run needs."""
    content = yaml.safe_load((save_service(tmp_path / "p", tmp_path / "b") / "bentoml.yml").read_text())
    assert content["kind"] == "BentoService"
    assert content["format_version"] == 1
    assert content["bentobatch_version"] == bentobatch.__version__
    metadata = content["metadata"]
    assert {key: metadata[key] for key in metadata if key != "created_at"} == {
        "service_name": "Scorer", "service_version": "v1", "module_name": "service", "module_file": "service.py",
        "class_name": "Scorer",
    }  # fmt: skip
    assert metadata["created_at"].tzinfo is None
    (api,) = content["apis"]
    assert (api["name"], api["input_type"], api["batch"], api["row_independent"]) == (
        "predict",
        "JsonInput",
        True,
        True,
    )
    (artifact,) = content["artifacts"]
    assert (artifact["artifact_type"], artifact["metadata"]) == ("PickleArtifact", {"who": "a"})
    assert set(content["env"]) == {"pip_packages", "bentobatch", "conda_env", "python_version"}


def test_the_model_and_the_api_say_what_columns_they_take(tmp_path: Path) -> None:
    """Feature names, their count and the classes come from the packed model; declared columns from the adapter."""
    source = """
    import bentobatch
    from bentobatch.adapters import DataframeInput
    from bentobatch.frameworks.sklearn import SklearnModelArtifact

    @bentobatch.env(infer_pip_packages=True)
    @bentobatch.artifacts([SklearnModelArtifact("model")])
    class Iris(bentobatch.BentoService):
        @bentobatch.api(input=DataframeInput(columns=["a", "b"], dtype={"a": "float32"}), batch=True,
                        output_schema={"label": "int64"})
        def predict(self, df):
            return self.artifacts.model.predict(df)
    """
    pd, tree = pytest.importorskip("pandas"), pytest.importorskip("sklearn.tree")
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]})
    with project(tmp_path / "p", {"service.py": source}) as module:
        service = module.Iris().pack("model", tree.DecisionTreeClassifier().fit(frame, [0, 1]))
        bundle = Path(service.save_to_dir(tmp_path / "b"))
    content = read_manifest(bundle).content
    artifact, api = content["artifacts"][0], content["apis"][0]
    assert (artifact["feature_names"], artifact["feature_count"], artifact["classes"]) == (["a", "b"], 2, [0, 1])
    assert api["input_schema"] == {"a": "float", "b": None}
    assert api["output_schema"] == {"label": "int64"}
    lines = (bundle / "requirements.txt").read_text().splitlines()
    assert lines[:2] == ["--find-links bundled_pip_dependencies", content["env"]["bentobatch"]]
    assert {line.partition("==")[0] for line in lines[2:]} >= {"scikit-learn", "joblib", "numpy"}
    assert bentobatch.load(bundle).predict(frame).tolist() == [0, 1]


def test_d23_what_only_the_pickled_model_needs_is_pinned(tmp_path: Path) -> None:
    """infer_pip_packages sees the packed models, not just the imports in service.py."""
    source = files_of("a")["service.py"].replace("@bentobatch.artifacts", "@bentobatch.env({})\n@bentobatch.artifacts")
    svm = pytest.importorskip("sklearn.svm")
    for infer, expected in ((True, True), (False, False)):
        changed = source.replace("env({})", f"env(infer_pip_packages={infer}, pip_packages=['click>=8'])")
        with project(tmp_path / f"p{infer}", {**files_of("a"), "service.py": changed}) as module:
            service = module.Scorer().pack("model", svm.SVC().fit([[0.0], [1.0]], [0, 1]))
            bundle = Path(service.save_to_dir(tmp_path / f"b{infer}"))
        lines = (bundle / "requirements.txt").read_text().splitlines()
        assert any(line.startswith("scikit-learn==") for line in lines) is expected
        assert {"click>=8", read_manifest(bundle).content["env"]["bentobatch"]} <= set(lines)
        assert any(line.startswith("cloudpickle==") for line in lines)


def test_requirements_file_conda_and_setup_script_of_env_are_written(tmp_path: Path) -> None:
    """requirements_txt_file overrides all; setup.sh is written where it is declared."""
    source = files_of("a")["service.py"].replace(
        "@bentobatch.artifacts",
        "@bentobatch.env(requirements_txt_file='reqs.txt', conda_dependencies=['gcc'], setup_sh='#!/bin/sh\\necho hi')\n"
        "@bentobatch.artifacts",
    )
    files = {**files_of("a"), "service.py": source, "reqs.txt": "numpy==1.0\n# ours\n"}
    with project(tmp_path / "p", files) as module:
        bundle = Path(module.Scorer().pack("model", module.helper.Thing()).save_to_dir(tmp_path / "b"))
    assert (bundle / "requirements.txt").read_text() == "numpy==1.0\n# ours\n"
    assert "gcc" in yaml.safe_load((bundle / "environment.yml").read_text())["dependencies"]
    assert (bundle / "setup.sh").read_text() == "#!/bin/sh\necho hi"
    env = read_manifest(bundle).content["env"]
    assert env["requirements_txt"] == "numpy==1.0\n# ours\n"
    again = bentobatch.load(bundle)  # the file that @env names is not here any more
    copy = Path(again.save_to_dir(tmp_path / "copy"))
    for name in ("requirements.txt", "environment.yml", "setup.sh"):
        assert (copy / name).read_bytes() == (bundle / name).read_bytes()
    assert read_manifest(copy).content["env"] == env


def test_web_static_content_goes_along_and_is_found_after_loading(tmp_path: Path, monkeypatch: Any) -> None:
    """D25: the loaded service's folder is the bundle's, which stays; links out of it are refused."""
    source = files_of("a")["service.py"].replace(
        "@bentobatch.artifacts", "@bentobatch.web_static_content('./web')\n@bentobatch.artifacts"
    )
    files = {**files_of("a"), "service.py": source, "web/index.html": "<p>", "web/js/a.js": "1", "web/.git/x": ""}
    monkeypatch.chdir(tmp_path)
    with project(tmp_path / "p", files) as module:
        service = module.Scorer().pack("model", module.helper.Thing())
        with pytest.raises(UsageError, match="no folder here"):
            service.save_to_dir(tmp_path / "b")
        monkeypatch.chdir(tmp_path / "p")
        bundle = Path(service.save_to_dir(tmp_path / "b"))
        (tmp_path / "p" / "web" / "out").symlink_to("/etc/passwd")
        with pytest.raises(UsageError, match="leads out"):
            service.save_to_dir(tmp_path / "b2")
    folder = bundle / "Scorer" / "web_static_content"
    assert listing(folder) == ["index.html", "js/a.js"]
    loaded = bentobatch.load(bundle)
    assert loaded._web_static_content == str(folder)
    assert listing(Path(loaded.save_to_dir(tmp_path / "again")) / "Scorer" / "web_static_content") == listing(folder)


def test_docs_json_is_openapi_and_readme_says_how_to_run(tmp_path: Path) -> None:
    """One POST for each route; the README names the service, its apis and models."""
    bundle = save_service(tmp_path / "p", tmp_path / "b")
    docs = json.loads((bundle / "docs.json").read_text())
    assert docs["openapi"].startswith("3.")
    assert docs["paths"]["/predict"]["post"]["operationId"] == "predict"
    readme = (bundle / "README.md").read_text()
    assert "# Scorer:v1" in readme
    assert "bentobatch run . predict" in readme
    assert "`model` (PickleArtifact)" in readme


def test_a_service_that_is_not_packed_is_refused_by_the_models_name(tmp_path: Path) -> None:
    """Nothing is written for it."""
    message = r"no model is packed in model; call pack\('model', model\)"
    with project(tmp_path / "p", files_of("a")) as module, pytest.raises(UsageError, match=message):
        module.Scorer().save_to_dir(tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_an_existing_folder_is_taken_only_when_it_is_empty(tmp_path: Path) -> None:
    """A folder with anything in it, a file or a link is refused, and stays as it was."""
    (tmp_path / "empty").mkdir()
    assert (save_service(tmp_path / "p", tmp_path / "empty") / "bentoml.yml").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note").touch()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("full", "file", "link", "empty"):
        with pytest.raises(OutputError, match="exists already"):
            save_service(tmp_path / "p", tmp_path / name)
    assert listing(tmp_path / "full") == ["note"]


@pytest.mark.parametrize("step", ["_write_artifacts", "_write_environment", "_describe", "sync_folder", "_publish"])
def test_a_saving_that_fails_at_any_step_leaves_nothing(tmp_path: Path, monkeypatch: Any, step: str) -> None:
    """There is no half bundle, and no temporary folder is left beside it."""

    def fail(*_args: Any, **_options: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(save if hasattr(save, step) else staging, step, fail)
    with pytest.raises(OutputError, match="No space left"):
        save_service(tmp_path / "p", tmp_path / "out" / "b")
    assert list((tmp_path / "out").iterdir()) == []


def test_while_it_is_written_the_bundle_is_nobody_elses_and_under_another_name(
    tmp_path: Path, monkeypatch: Any
) -> None:
    """S18: mkdtemp in the same parent, mode 0700; the finished folder has the usual mode."""
    seen: list[tuple[str, int]] = []
    publish = staging._publish

    def watch(folder: Path, target: Path) -> None:
        assert not target.exists()
        seen.extend((path.name, stat.S_IMODE(path.stat().st_mode)) for path in target.parent.iterdir())
        publish(folder, target)

    monkeypatch.setattr(staging, "_publish", watch)
    before = os.umask(0o022)
    try:
        bundle = save_service(tmp_path / "p", tmp_path / "out" / "b")
    finally:
        os.umask(before)
    ((name, mode),) = seen
    assert name.startswith(".bentobatch-")
    assert mode == 0o700
    assert stat.S_IMODE(bundle.stat().st_mode) == 0o755


def test_a_target_that_appears_meanwhile_is_not_overwritten(tmp_path: Path, monkeypatch: Any) -> None:
    """The rename takes the place of nothing but an empty folder."""
    sync = staging.sync_folder

    def race(folder: Path) -> None:
        write_files(tmp_path / "out" / "b", {"theirs": ""})
        sync(folder)

    monkeypatch.setattr(staging, "sync_folder", race)
    with pytest.raises(OutputError, match="exists already"):
        save_service(tmp_path / "p", tmp_path / "out" / "b")
    assert listing(tmp_path / "out") == ["b/theirs"]


def test_numpy_metadata_is_written_as_plain_values(tmp_path: Path) -> None:
    """numpy scalars become numbers; the loaded metadata equal the given ones."""
    metadata = {
        "accuracy": np.float64(0.5),
        "n": np.int32(7),
        "labels": ["é", None],
        "nested": {"t": (1, 2)},
        "k": {0: "x"},
    }
    with project(tmp_path / "p", files_of("a")) as module:
        service = module.Scorer().pack("model", module.helper.Thing(), metadata=metadata)
        bundle = service.save_to_dir(tmp_path / "b")
    assert bentobatch.load(bundle).artifacts.get("model").metadata == {
        "accuracy": 0.5, "n": 7, "labels": ["é", None], "nested": {"t": [1, 2]}, "k": {0: "x"},
    }  # fmt: skip


def test_a_shared_value_and_odd_texts_survive_the_manifest(tmp_path: Path) -> None:
    """The same list twice makes no YAML alias; texts that look like numbers stay texts; nothing breaks the digest."""
    shared = ["1e5", "null", "2026-01-01", "multi\nline: [", "tab\t", "\x1f", "é\u2028ü", "!!python/object", "\ud800"]
    metadata = {"a": shared, "b": shared, "floats": [1e-300, 1e22, float("inf")]}
    with project(tmp_path / "p", files_of("a")) as module:
        bundle = Path(
            module.Scorer().pack("model", module.helper.Thing(), metadata=metadata).save_to_dir(tmp_path / "b")
        )
    assert "&id" not in (bundle / "bentoml.yml").read_text()
    assert bentobatch.load(bundle).artifacts.get("model").metadata == metadata


def test_a_local_package_with_a_reserved_name_is_refused(tmp_path: Path) -> None:
    """<Service>/artifacts/ is the models' folder."""
    files = {**files_of("a"), "helper.py": "import artifacts\nclass Thing: pass", "artifacts/__init__.py": ""}
    with project(tmp_path / "p", files) as module, pytest.raises(UsageError, match=r"'artifacts'.*rename the package"):
        module.Scorer().pack("model", 1).save_to_dir(tmp_path / "b")


def test_a_link_that_a_custom_artifact_writes_is_refused(tmp_path: Path) -> None:
    """A bundle holds regular files only."""
    source = """
    import bentobatch
    from bentobatch.adapters import JsonInput
    from bentobatch.frameworks.base import BentoServiceArtifact

    class Linked(BentoServiceArtifact):
        def save_model(self, folder):
            (folder / f"{self.name}.link").symlink_to("/etc/passwd")
        def load_model(self, folder):
            return None

    @bentobatch.artifacts([Linked("model")])
    class Service(bentobatch.BentoService):
        @bentobatch.api(input=JsonInput(), batch=True)
        def predict(self, values):
            return values
    """
    with project(tmp_path / "p", {"service.py": source}) as module, pytest.raises(UsageError, match="no regular file"):
        module.Service().pack("model", 1).save_to_dir(tmp_path / "b")


def test_a_pickle_that_names_main_is_refused(tmp_path: Path) -> None:
    """Also when a custom artifact wrote it, past the checks of bentobatch's own."""
    source = """
    import bentobatch
    from bentobatch.adapters import JsonInput
    from bentobatch.frameworks.base import BentoServiceArtifact

    class Raw(BentoServiceArtifact):
        def save_model(self, folder):
            (folder / f"{self.name}.pkl").write_bytes(b"c__main__\\nThing\\n.")
        def load_model(self, folder):
            return None

    @bentobatch.artifacts([Raw("model")])
    class Service(bentobatch.BentoService):
        @bentobatch.api(input=JsonInput(), batch=True)
        def predict(self, values):
            return values
    """
    message = r"'__main__'.*put what it defines into a module"
    with project(tmp_path / "p", {"service.py": source}) as module, pytest.raises(UsageError, match=message):
        module.Service().pack("model", 1).save_to_dir(tmp_path / "b")


def test_a_model_of_another_bundle_is_refused_unless_its_code_goes_along(tmp_path: Path) -> None:
    """A model that was loaded from bundle a refers to a's private modules: another service cannot carry it."""
    loaded = bentobatch.load(save_service(tmp_path / "p", tmp_path / "a"))
    with project(tmp_path / "p2", files_of("b")) as module:
        service = module.Scorer().pack("model", loaded.artifacts.model)
        with pytest.raises(UsageError, match="'helper' of another bundle"):
            service.save_to_dir(tmp_path / "b")
    again = bentobatch.load(loaded.save_to_dir(tmp_path / "c", version="v2"))
    assert again.predict([1]) == [("a", "late a", "late a", 1)]
    assert again.version == "v2"


def test_a_class_inside_a_function_is_refused(tmp_path: Path) -> None:
    """It could not be found again in its module."""
    source = """
    import bentobatch
    def make():
        class Inner(bentobatch.BentoService):
            pass
        return Inner
    """
    message = "write the class at the top of a module"
    with project(tmp_path / "p", {"service.py": source}) as module, pytest.raises(UsageError, match=message):
        module.make()().save_to_dir(tmp_path / "b")


@pytest.mark.parametrize("path", ["s3://bucket/x", "https://host/x", ""])
def test_a_url_is_no_local_folder(tmp_path: Path, path: str, monkeypatch: Any) -> None:
    """Remote bundles come later; nothing is created for them."""
    monkeypatch.chdir(tmp_path)
    with project(tmp_path / "p", files_of("a")) as module, pytest.raises(UsageError, match=r"local folder|no path"):
        module.Scorer().pack("model", 1).save_to_dir(path)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["p"]


def test_saving_leaves_the_search_path_and_plain_modules_alone(tmp_path: Path) -> None:
    """Looking for local code imports nothing."""
    import sys

    with on_search_path(write_files(tmp_path / "p", files_of("a"))):
        import service  # type: ignore[import-not-found]

        packed = service.Scorer().pack("model", 1)
        packed.save_to_dir(tmp_path / "warm-up")
        before = set(sys.modules), list(sys.path)
        packed.save_to_dir(tmp_path / "b", version="v2")
        assert (set(sys.modules), list(sys.path)) == before
