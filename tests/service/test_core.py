"""This module tests the service itself: its name, version, apis, artifacts and environment."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from bentobatch.adapters.base import Converted, InputAdapter, OutputAdapter
from bentobatch.errors import UsageError
from bentobatch.frameworks.json import JSONArtifact
from bentobatch.frameworks.pickle import PickleArtifact
from bentobatch.frameworks.text import TextFileArtifact
from bentobatch.service.core import ServiceCore, module_of, service_name
from bentobatch.service.declarations import api, artifacts, env, ver


class Rows(InputAdapter):
    def table_from_text(self, text: bytes, *, columns: Any = None) -> pa.Table:
        raise NotImplementedError

    def convert(self, batch: pa.RecordBatch) -> Converted:
        return Converted((batch,), batch.num_rows)


class Out(OutputAdapter):
    def columns(self, result: Any, *, name: str = "", classes: Any = None, schema: Any = None) -> pa.RecordBatch:
        raise NotImplementedError


ROWS, OUT = Rows(), Out()


class Needy(TextFileArtifact):
    def set_dependencies(self, env: Any) -> None:
        env.add_pip_packages(["needed-by-artifact"])


@env(pip_packages=["numpy"])
@artifacts([JSONArtifact("factor"), Needy("words")])
class Scaler(ServiceCore):
    @api(input=ROWS, output=OUT, batch=True)
    def predict(self, data: Any) -> Any:
        return [value * self.artifacts.factor for value in data]

    @api(input=ROWS, output=OUT)
    def explain(self, data: Any) -> Any:
        return self.artifacts.words


def test_a_packed_service_works_before_saving() -> None:
    """pack returns the service; the method is an ordinary one."""
    assert Scaler().pack("factor", 3).predict([1, 2]) == [3, 6]


def test_each_instance_has_its_own_models() -> None:
    """The artifacts that a class declares are templates."""
    one, two = Scaler().pack("factor", 1), Scaler().pack("factor", 2, metadata={"run": 7})
    assert (one.predict([5]), two.predict([5])) == ([5], [10])
    assert (one.artifacts.get("factor").metadata, two.artifacts.get("factor").metadata) == ({}, {"run": 7})
    assert Scaler().not_packed() == ["factor", "words"]
    assert one.not_packed() == ["words"]


def test_a_model_can_be_packed_anew() -> None:
    """A loop of training packs the next one into the same service."""
    service = Scaler().pack("factor", 1, metadata={"run": 1})
    assert service.pack("factor", 2).predict([1]) == [2]
    assert service.artifacts.get("factor").metadata == {}


def test_an_artifact_is_reached_as_a_model_and_as_itself() -> None:
    """``artifacts.NAME`` is the model, ``get``, ``[]`` and iteration give the rest."""
    service = Scaler().pack("factor", 3)
    assert service.artifacts.factor == 3
    assert service.artifacts["factor"] is service.artifacts.get("factor") is service.artifacts.get_artifact_list()[0]
    assert [artifact.name for artifact in service.artifacts] == list(service.artifacts.keys()) == ["factor", "words"]
    assert dict(service.artifacts.items()) == dict(zip(["factor", "words"], service.artifacts.values(), strict=True))
    assert len(service.artifacts) == 2
    assert "factor" in service.artifacts
    assert "words" in dir(service.artifacts)
    assert "JSONArtifact('factor', packed)" in repr(service.artifacts)


def test_an_unknown_artifact_is_told_with_the_known_ones() -> None:
    """By attribute an AttributeError, so that hasattr works; elsewhere a UsageError."""
    service = Scaler()
    with pytest.raises(AttributeError, match=r"no artifact is named 'facter'.*factor, words"):
        _ = service.artifacts.facter
    for ask in (service.artifacts.get, service.artifacts.__getitem__, lambda name: service.pack(name, 1)):
        with pytest.raises(UsageError, match=r"no artifact is named 'facter'.*factor, words"):
            ask("facter")
    assert service.artifacts.get("facter", 5) == 5
    with pytest.raises(UsageError, match="declared with @artifacts are: none"):
        ServiceCore().artifacts.get("x")


def test_an_empty_artifact_and_an_assignment_are_told_to_pack() -> None:
    """Both say what to call."""
    service = Scaler()
    with pytest.raises(UsageError, match=r"call pack\('factor', model\) first"):
        service.predict([1])
    with pytest.raises(AttributeError, match=r"svc\.pack\('factor', model\)"):
        service.artifacts.factor = 3


def test_metadata_must_be_a_dict() -> None:
    """BentoML's TypeError."""
    with pytest.raises(TypeError, match="must be a dict"):
        Scaler().pack("factor", 1, metadata=[1])  # type: ignore[arg-type]


def test_further_arguments_go_to_the_artifacts_own_pack() -> None:
    """As Keras' custom_objects do."""

    class Greedy(PickleArtifact):
        def pack(self, model: Any, *more: Any, metadata: Any = None, **options: Any) -> Any:
            return super().pack((model, more, options), metadata=metadata)

    @artifacts([Greedy("model")])
    class Service(ServiceCore):
        pass

    assert Service().pack("model", 1, 2, x=3, metadata={"a": 1}).artifacts.model == (1, (2,), {"x": 3})


def test_the_name_is_the_classs_unless_it_is_set() -> None:
    """D18: everything asks this one place, so that a set name works everywhere."""

    class Iris(ServiceCore):
        _bento_service_name = "iris_v2"

    class Derived(Iris):
        pass

    assert (Scaler().name, Iris().name, service_name(Iris), Derived().name) == (
        "Scaler",
        "iris_v2",
        "iris_v2",
        "iris_v2",
    )
    assert Iris().set_version("1")
    iris = Iris()
    iris.set_version("1")
    assert iris.tag == "iris_v2:1"


@pytest.mark.parametrize("name", ["a-b", "../x", "", "1a", 3, "_x"])
def test_a_malformed_name_is_refused_where_the_class_is_written(name: Any) -> None:
    """It names a folder and a package."""
    with pytest.raises(UsageError, match="cannot be a service's name"):
        type("Service", (ServiceCore,), {"_bento_service_name": name})


def test_a_class_whose_name_cannot_be_saved_still_works() -> None:
    """A private base is no mistake; asking for its name is."""
    hidden = type("_Hidden", (ServiceCore,), {})
    assert hidden().inference_apis == []
    with pytest.raises(UsageError, match="_bento_service_name"):
        _ = hidden().name


def test_a_version_is_the_second_and_six_digits() -> None:
    """%Y%m%d%H%M%S_<6 HEX>, in UTC, so that versions of several machines sort by time."""
    service = Scaler()
    assert service.version is None
    version = service.set_version()
    assert re.fullmatch(r"\d{14}_[0-9A-F]{6}", version)
    made = datetime.strptime(version[:14], "%Y%m%d%H%M%S").replace(tzinfo=timezone.utc)
    assert abs(datetime.now(timezone.utc) - made) < timedelta(minutes=1)
    assert (service.version, service.tag) == (version, f"Scaler:{version}")
    assert Scaler().version is None
    assert service.versioneer() != service.versioneer()


def test_a_version_can_be_given_and_is_checked() -> None:
    """No path, no question."""
    service = Scaler()
    assert service.set_version("v1.0") == "v1.0"
    for wrong in ("latest", "../x", "", "a b"):
        with pytest.raises(UsageError, match="version"):
            service.set_version(wrong)
    assert service.version == "v1.0"


def test_a_tag_needs_a_version() -> None:
    """Before saving there is none."""
    with pytest.raises(UsageError, match="set_version"):
        _ = Scaler().tag


def test_ver_goes_before_every_version() -> None:
    """major.minor.<patch>, given or made."""

    @ver(major=2, minor=10)
    class Service(ServiceCore):
        pass

    assert Service().set_version("7") == "2.10.7"
    assert re.fullmatch(r"2\.10\.\d{14}_[0-9A-F]{6}", Service().set_version())


def test_a_versioneer_of_the_users_own_is_used() -> None:
    """And checked."""

    class Service(ServiceCore):
        def versioneer(self) -> str:
            return "build-7"

    assert Service().set_version() == "build-7"


def test_apis_are_listed_in_the_order_of_their_definition() -> None:
    """Those of a base first; an override keeps its place; one without @api is none any more."""

    class Base(Scaler):
        @api(input=ROWS, output=OUT)
        def third(self, data: Any) -> Any: ...

    class Derived(Base):
        def explain(self, data: Any) -> Any: ...

        @api(input=ROWS, output=OUT, api_name="predict", mb_max_batch_size=1)
        def predict(self, data: Any) -> Any:
            return "derived"

    assert [found.name for found in Base().inference_apis] == ["predict", "explain", "third"]
    assert [found.name for found in Derived().inference_apis] == ["predict", "third"]
    assert Derived().get_inference_api("predict").call((1,)) == "derived"
    assert Scaler().get_inference_api("predict").mb_max_batch_size == 4000


def test_an_unknown_api_is_told_with_the_known_ones() -> None:
    """A typing error on the command line."""
    with pytest.raises(UsageError, match="Scaler has no api named 'predcit'; it has: predict, explain"):
        Scaler().get_inference_api("predcit")
    with pytest.raises(UsageError, match="declare one with @api"):
        ServiceCore().get_inference_api("predict")


def test_two_apis_of_one_name_or_route_are_refused() -> None:
    """Where the class is written; the second would hide the first."""
    with pytest.raises(UsageError, match="two apis named 'a'"):

        class Names(ServiceCore):
            @api(input=ROWS, output=OUT)
            def a(self, data: Any) -> Any: ...
            @api(input=ROWS, output=OUT, api_name="a")
            def b(self, data: Any) -> Any: ...

    with pytest.raises(UsageError, match="two apis at the route"):

        class Routes(ServiceCore):
            @api(input=ROWS, output=OUT)
            def a(self, data: Any) -> Any: ...
            @api(input=ROWS, output=OUT, route="/a")
            def b(self, data: Any) -> Any: ...


def test_one_function_under_two_attributes_is_one_api() -> None:
    """An alias for callers in Python."""

    class Service(ServiceCore):
        @api(input=ROWS, output=OUT)
        def predict(self, data: Any) -> Any: ...

        score = predict

    assert [found.name for found in Service().inference_apis] == ["predict"]


@pytest.mark.parametrize("attribute", ["env", "name", "pack", "artifacts", "version"])
def test_an_api_cannot_take_the_place_of_an_attribute_of_services(attribute: str) -> None:
    """It would break packing or saving later, far from the mistake."""

    def method(self: Any, data: Any) -> Any: ...

    method.__name__ = attribute
    with pytest.raises(UsageError, match="service's own attributes"):
        type("Service", (ServiceCore,), {attribute: api(input=ROWS, output=OUT)(method)})


def test_the_environment_is_the_instances_own() -> None:
    """The class's @env and what the artifacts add; the class's stays as declared."""
    service = Scaler()
    assert service.env.pip_packages == ["numpy", "needed-by-artifact"]
    service.env.add_pip_packages(["more"])
    assert Scaler().env.pip_packages == ["numpy", "needed-by-artifact"]
    assert Scaler._env is not None
    assert Scaler._env.pip_packages == ["numpy"]
    assert ServiceCore().env.to_manifest() == {}


def test_an_init_of_the_users_own_need_not_call_ours() -> None:
    """State is made when it is asked for."""

    class Service(Scaler):
        def __init__(self) -> None:
            self.ready = True

    service = Service().pack("factor", 2)
    assert service.ready
    assert service.get_inference_api("predict").call(([1],)) == [2]
    assert service.set_version("1") == "1"


def test_artifacts_are_loaded_from_a_folder(tmp_path: Path) -> None:
    """What a bundle does."""
    packed = Scaler().pack("factor", 3, metadata={"run": 1}).pack("words", "why")
    for artifact in packed.artifacts.values():
        artifact.save_model(tmp_path)
    loaded = Scaler()
    loaded.load_artifacts(tmp_path, {"factor": {"run": 1}})
    assert loaded.not_packed() == []
    assert (loaded.predict([1]), loaded.explain(None)) == ([3], "why")
    assert loaded.artifacts.get("factor").metadata == {"run": 1}
    assert loaded.artifacts.get("words").metadata == {}


def test_a_class_of_a_module_can_be_saved() -> None:
    """module_of gives what a bundle copies."""
    assert module_of(Scaler) is sys.modules[__name__]


def test_a_class_that_cannot_be_imported_again_is_refused() -> None:
    """In __main__, inside a function, in no file: why, and what to do."""

    class Local(ServiceCore):
        pass

    with pytest.raises(UsageError, match=r"Local is not found in .*module of its own"):
        module_of(Local)
    for name, message in (
        ("__main__", "defined in __main__.*would run the training"),
        ("no_file", "no module with a file"),
    ):
        with pytest.raises(UsageError, match=message):
            module_of(type("Service", (ServiceCore,), {"__module__": name}))


def test_declaring_a_service_without_apis_imports_neither_pandas_nor_pyarrow() -> None:
    """``import bentobatch`` and ``bentobatch --help`` are quick."""
    code = (
        "import sys\n"
        "import bentobatch.service.core, bentobatch.service.declarations, bentobatch.service.schemas\n"
        "import bentobatch.frameworks.sklearn, bentobatch.tags, bentobatch.settings\n"
        "print([m for m in ('numpy', 'pandas', 'pyarrow', 'sklearn', 'cloudpickle') if m in sys.modules])"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == "[]"
