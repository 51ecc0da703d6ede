"""Tests of what old services declare: the forms of 0.13, those of before 0.8, and what BentoML did around them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from bentobatch.bundle.load import load
from bentobatch.errors import BundleError, UsageError
from bentobatch.legacy.names import NAMES
from bentobatch.scorer import Scorer
from tests.legacy.layout import SERVICE, service_of, write_bundle


def lines(*values: bytes) -> pa.RecordBatch:
    return pa.record_batch({"line": pa.array(values, type=pa.large_binary())})


def test_every_name_in_the_table_is_there(tmp_path: Path) -> None:
    """Each module imports, and each of its names is something; none fails for a library that is not installed."""
    imports = "\n".join(f"import {module}" for module in NAMES)
    body = f"{imports}\n\nclass Doubler(bentoml.BentoService):\n    pass\n"
    service = service_of(tmp_path, body)
    module = __import__(type(service).__module__, fromlist=["bentoml"]).bentoml
    for home, names in NAMES.items():
        found = module
        for part in home.split(".")[1:]:
            found = getattr(found, part)
        for name in names:
            assert getattr(found, name) is not None, f"{home}.{name}"


def test_star_imports_bring_the_public_names(tmp_path: Path) -> None:
    """`from bentoml.artifact import *` was common before 0.8."""
    body = """
from bentoml.artifact import *
from bentoml.handlers import *

@bentoml.artifacts([PickleArtifact("model")])
class Doubler(bentoml.BentoService):
    @bentoml.api(DataframeHandler)
    def predict(self, df):
        return df["x"] * self.artifacts.model["factor"]
"""
    assert service_of(tmp_path, body).predict(pd.DataFrame({"x": [2.0]})).tolist() == [4.0]


def test_handlers_of_before_0_8_take_their_options_with_the_class(tmp_path: Path) -> None:
    """@api(DataframeHandler, orient=…, input_dtypes=[…]); what a handler knew and no adapter knows means nothing."""
    body = """
from bentoml import BentoService, api, artifacts, env
from bentoml.artifact import PickleArtifact, SklearnModelArtifact
from bentoml.handlers import DataframeHandler, JsonHandler

@env(pip_dependencies=["scikit-learn"], auto_pip_dependencies=True, no_such_option=5)
@artifacts([PickleArtifact("model")])
class Doubler(BentoService):
    @api(DataframeHandler, orient="records", typ="frame", input_dtypes=["float64"], output_orient="split")
    def predict(self, df):
        return df["x"] * self.artifacts.model["factor"]

    @api(JsonHandler, api_name="one", is_batch_input=False)
    def single(self, parsed_json):
        return parsed_json["x"] * self.artifacts.model["factor"]
"""
    service = service_of(tmp_path, body, version="0.7.8")
    predict, one = service.get_inference_api("predict"), service.get_inference_api("one")
    assert (predict.batch, one.batch) == (True, False)
    assert predict.input.config()["orient"] == "records"
    assert predict.input.config()["dtype"] == ["float64"]
    table = pa.record_batch({"x": pa.array([1, 2])})
    assert Scorer(service, predict).score(table).columns.to_pydict() == {"prediction": [2.0, 4.0]}
    assert Scorer(service, one).score(lines(b'{"x": 1}', b"{")).columns.to_pydict() == {"prediction": [2.0, None]}


def test_a_bundle_of_0_8_means_many_rows_where_it_says_nothing(tmp_path: Path) -> None:
    """`batch` came with 0.9; before, adapters gave all rows at once. From 0.9 on nothing means one row."""
    body = """
from bentoml.adapters import JsonInput

class Doubler(bentoml.BentoService):
    @bentoml.api(input=JsonInput())
    def predict(self, values):
        return [type(values).__name__] * len(values)
"""
    for version, batch in (("0.8.6", True), ("0.9.2", False), ("0.13.1", False)):
        service = service_of(tmp_path / version, body, version=version)
        assert service.get_inference_api("predict").batch is batch


def test_models_are_there_inside_init(tmp_path: Path) -> None:
    """BentoService.__init__ loaded them, and services went on from there."""
    body = """
from bentoml.adapters import JsonInput

@bentoml.artifacts([PickleArtifact("model")])
class Doubler(bentoml.BentoService):
    def __init__(self):
        assert not self.artifacts.get("model").is_ready
        super().__init__()
        assert self.artifacts.get("model").is_ready and self.artifacts["model"].loaded
        self.factor = self.artifacts.model["factor"]
        self.seen = (self._bento_service_bundle_path, self.name)

    @bentoml.api(input=JsonInput(), batch=True)
    def predict(self, values):
        return [value * self.factor for value in values]
"""
    service = service_of(tmp_path, body)
    assert service.predict([1, 2]) == [2.0, 4.0]
    assert service.seen == (str(tmp_path / "old"), "Doubler")


def test_models_are_there_after_an_init_that_does_not_call_its_base(tmp_path: Path) -> None:
    """Such a service could not be loaded by BentoML at all."""
    body = """
from bentoml.adapters import JsonInput

@bentoml.artifacts([PickleArtifact("model")])
class Doubler(bentoml.BentoService):
    def __init__(self):
        self.greeting = "hello"
"""
    assert service_of(tmp_path, body).artifacts.model == {"factor": 2.0}


def test_a_service_that_is_not_named_like_its_class_is_found(tmp_path: Path) -> None:
    """BentoML saved such a bundle and could not load it (D18)."""
    text = SERVICE.replace(
        "class Doubler(bentoml.BentoService):",
        "class Other(bentoml.BentoService):\n    _bento_service_name = 'Doubler'",
    )
    service = load(write_bundle(tmp_path / "old", text))
    assert type(service).__name__ == "Other"
    assert service.tag == "Doubler:20210831111223_0A1B2C"


def test_a_bundle_without_its_service_says_so(tmp_path: Path) -> None:
    """The module is there, the class is not."""
    with pytest.raises(BundleError, match="'Doubler' in 'doubler_service', which is no service class"):
        service_of(tmp_path, "")
    (tmp_path / "old" / "Doubler" / "doubler_service.py").unlink()
    with pytest.raises(BundleError, match=r"the file of its service, doubler_service\.py in Doubler/, is missing"):
        load(tmp_path / "old")


def test_code_in_zip_archives_is_imported_from_there(tmp_path: Path) -> None:
    """@env(zipimport_archives=…): the archives come before the bundle's own modules, as on BentoML's search path."""
    body = """
import zipped.inner
from helper import WHO
from bentoml.adapters import JsonInput

@bentoml.env(zipimport_archives=["lib.zip"])
class Doubler(bentoml.BentoService):
    @bentoml.api(input=JsonInput(), batch=True)
    def predict(self, values):
        from zipped.inner import name
        return [WHO, name(), zipped.inner.__file__]
"""
    zipped = {
        "zipped/__init__.py": "",
        "zipped/inner.py": "def name():\n    import bentoml\n    return bentoml.__name__\n",
        "helper.py": "WHO = 'zip'\n",
    }
    service = service_of(tmp_path, body, zipped=zipped, files={"helper.py": "WHO = 'folder'\n"})
    who, name, file = service.predict([1])
    assert who == "zip"
    assert name.endswith(".bentoml")
    assert file.endswith("zipimports/lib.zip/zipped/inner.py")


def test_a_zip_archive_that_is_none_is_told(tmp_path: Path) -> None:
    """One line, with the archive's name."""
    root = write_bundle(tmp_path / "old", files={"zipimports/lib.zip": b"no zip"})
    with pytest.raises(BundleError, match=r"zipimports/lib\.zip of the bundle cannot be read"):
        load(root)


def test_every_option_of_env_is_taken(tmp_path: Path) -> None:
    """Also with values that @env of ours would refuse: they were good enough for saving, and running needs none."""
    body = """
@bentoml.env(
    pip_packages=["torch==1.8.0+cpu -f https://download.pytorch.org/whl/torch_stable.html"],
    pip_dependencies=["x"], pip_index_url="https://example.org/simple", pip_trusted_host="example.org",
    pip_extra_index_url="https://example.org/extra", auto_pip_dependencies=True, infer_pip_packages=True,
    requirements_txt_file="./no_such_file.txt", conda_channels=["conda-forge"], conda_overwrite_channels=True,
    conda_override_channels=True, conda_dependencies=["gcc"], conda_env_yml_file="./no_such.yml",
    setup_sh="./no_such.sh", docker_base_image="image with blanks", zipimport_archives=None,
)
@bentoml.ver(major=1, minor=2)
@bentoml.artifacts([])
class Doubler(bentoml.BentoService):
    pass
"""
    service = service_of(tmp_path, body)
    assert service.version == "20210831111223_0A1B2C"
    assert service.env.conda_channels == ["conda-forge"]
    assert service.env.docker_base_image is None


def test_web_pages_are_those_in_the_bundle(tmp_path: Path) -> None:
    """Not those of the working directory, by whose path they were declared."""
    body = "\n@bentoml.web_static_content('./ui')\nclass Doubler(bentoml.BentoService):\n    pass\n"
    service = service_of(tmp_path, body, files={"web_static_content/index.html": "<p>hi</p>"})
    assert Path(service.web_static_content, "index.html").read_text() == "<p>hi</p>"


def test_tasks_results_and_errors_of_bentoml_mean_the_same(tmp_path: Path) -> None:
    """discard, InferenceResult and InferenceError, by position and name, in annotations and isinstance."""
    body = """
from typing import List
from bentoml.adapters import JsonInput, StringInput
from bentoml.types import InferenceError, InferenceResult, InferenceTask, JsonSerializable, FileLike, HTTPHeaders
from bentoml.exceptions import InvalidArgument

class Doubler(bentoml.BentoService):
    @bentoml.api(input=JsonInput(), batch=True)
    def predict(self, values: List[JsonSerializable], tasks: List[InferenceTask[str]]):
        results = []
        for value, task in zip(values, tasks):
            assert isinstance(task, InferenceTask)
            if value == "discard":
                task.discard(http_status=400, err_msg="no")
            elif value == "error":
                results.append(InferenceError(err_msg="bad", http_status=400))
            else:
                results.append(InferenceResult(0, value, http_headers={"A": "b"}, aws_lambda_event={}))
        return results

    @bentoml.api(input=StringInput())
    def single(self, text, task):
        if text == "raise":
            raise InvalidArgument("cannot do that")
        return text.upper()
"""
    service = service_of(tmp_path, body)
    scored = Scorer(service, service.get_inference_api("predict")).score(lines(b'"a"', b'"discard"', b'"error"', b"7"))
    assert scored.columns.to_pydict()["prediction"] == ["a", None, None, 7] or scored.columns.num_rows == 4
    assert [(bad.index, bad.stage, bad.error) for bad in scored.bad] == [(1, "discard", "no"), (2, "model", "bad")]
    scored = Scorer(service, service.get_inference_api("single")).score(lines(b"a", b"raise"))
    assert scored.columns.to_pydict() == {"prediction": ["A", None]}
    assert [(bad.error_type, bad.error) for bad in scored.bad] == [("InvalidArgument", "cannot do that")]


@pytest.mark.parametrize(
    ("declared", "config"),
    [
        ("DataframeInput('frame', 'split')", {"orient": "split"}),
        ("DataframeInput(columns=['a', 'b'], dtype={'a': 'float', 'b': 'int'})", {"columns": ["a", "b"]}),
        ("DataframeInput(dtype={'a': float}, is_batch_input=True, cors='*')", {}),
        ("DataframeInput(http_input_example={'a': 1}, request_schema={'application/json': {}})", {}),
        ("DataframeInput()", {"orient": None, "columns": None, "dtype": None}),
    ],
)
def test_the_arguments_of_dataframe_input_are_bentomls(declared: str, config: dict[str, Any], tmp_path: Path) -> None:
    """Its order by position, its names, and whatever other option it kept for itself."""
    text = SERVICE.replace("DataframeInput(),", f"{declared},")
    api = load(write_bundle(tmp_path / "old", text)).get_inference_api("predict")
    assert type(api.input).__name__ == "DataframeInput"
    assert {key: api.input.config()[key] for key in config} == config


@pytest.mark.parametrize(
    ("declared", "config"),
    [
        (
            "ImageInput(['png', '.jpg'], 'L', is_batch_input=True)",
            {"pilmode": "L", "accept_image_formats": [".jpg", ".png"]},
        ),
        ("MultiImageInput(input_names=('a', 'b'), cors='*')", {"input_names": ["a", "b"], "pilmode": "RGB"}),
        ("ImageHandler(accept_image_formats=['.png'])", {"input_names": ["image"], "accept_image_formats": [".png"]}),
        ("AnnotatedImageInput('im', 'ann')", {}),
        ("MultiFileInput(['a', 'b'], True)", {"input_names": ["a", "b"], "allow_none": True}),
        ("FileInput(is_batch_input=False)", {}),
        ("TfTensorInput('predict')", {"method": "predict"}),
    ],
)
def test_adapters_of_files_and_images_take_bentomls_arguments(
    declared: str, config: dict[str, Any], tmp_path: Path
) -> None:
    """By position and by name; options that meant nothing to BentoML mean nothing here."""
    body = f"""
from bentoml.adapters import *
from bentoml.handlers import ImageHandler

class Doubler(bentoml.BentoService):
    @bentoml.api(input={declared}, batch=True)
    def predict(self, *files):
        return [1 for _ in files[0]]
"""
    found = service_of(tmp_path, body).get_inference_api("predict").input.config()
    shown = {key: sorted(found[key]) if isinstance(found[key], (list, tuple)) else found[key] for key in config}
    assert shown == config


def test_an_adapter_that_the_house_has_not_leaves_the_others_usable(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The api that needs it is left out, with a warning that names both."""
    body = """
from bentoml.adapters import ClipperFloatsInput, JsonInput

class Doubler(bentoml.BentoService):
    @bentoml.api(input=ClipperFloatsInput())
    def clipped(self, values):
        return values

    @bentoml.api(input=JsonInput(), batch=True)
    def predict(self, values):
        return values
"""
    service = service_of(tmp_path, body)
    assert [api.name for api in service.inference_apis] == ["predict"]
    assert "the api 'clipped' is left out: this bentobatch has no adapter ClipperFloatsInput" in caplog.text
    with pytest.raises(UsageError, match="it has: predict"):
        service.get_inference_api("clipped")


def test_settings_and_small_tools_are_there(tmp_path: Path) -> None:
    """What service files imported beside the service itself."""
    body = """
import os
from bentoml import config, configure_logging
from bentoml.configuration import BENTOML_VERSION, get_debug_mode
from bentoml.utils import cached_property
from bentoml.utils.lazy_loader import LazyLoader
from bentoml.utils.tempdir import TempDirectory
from bentoml.adapters import JsonInput
from bentoml.service import api_decorator, BentoServiceArtifact, InferenceAPI
from bentoml.saved_bundle import load_from_dir

configure_logging()
statistics = LazyLoader("statistics", globals(), "statistics")

class Doubler(bentoml.BentoService):
    @cached_property
    def level(self):
        return config("logging").get("level", fallback="quiet")

    @api_decorator(input=JsonInput(), batch=True)
    def predict(self, values):
        with TempDirectory() as folder:
            there = os.path.isdir(folder)
        return [self.level, statistics.mean([1, 3]), there, BENTOML_VERSION, get_debug_mode(), callable(load_from_dir)]
"""
    assert service_of(tmp_path, body).predict([1]) == ["quiet", 2, True, "0.13.1", False, True]
