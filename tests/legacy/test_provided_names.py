"""Every name that BentoML 0.13 documents can be imported by an old bundle's code, from each module that has it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bentobatch.errors import UsageError
from tests.legacy.layout import service_of

DOCUMENTED = {
    "bentoml": "BentoService api artifacts env ver web_static_content load load_from_dir save_to_dir save __version__",
    "bentoml.saved_bundle": "load_bento_service_class load_bento_service_api load_saved_bundle_config save_to_dir",
    "bentoml.exceptions": "BentoMLException Unauthenticated InvalidArgument BadInput NotFound FailedPrecondition "
    "MissingDependencyException ArtifactLoadingException BentoMLConfigException APIDeprecated YataiServiceException",
    "bentoml.yatai.client": "get_yatai_client",
    "bentoml.adapters": "DataframeInput TfTensorInput JsonInput StringInput FileInput MultiFileInput ImageInput "
    "MultiImageInput AnnotatedImageInput ClipperBytesInput ClipperIntsInput ClipperFloatsInput ClipperDoublesInput "
    "ClipperStringsInput BaseInputAdapter DefaultOutput JsonOutput DataframeOutput TfTensorOutput BaseOutputAdapter",
    "bentoml.types": "JsonSerializable AwsLambdaEvent HTTPHeaders HTTPRequest HTTPResponse FileLike InferenceTask "
    "InferenceResult InferenceError",
    "bentoml.handlers": "DataframeHandler JsonHandler ImageHandler TensorflowTensorHandler FastaiImageHandler",
    "bentoml.artifact": "SklearnModelArtifact PickleArtifact XgboostModelArtifact TextFileArtifact JSONArtifact",
    "bentoml.service": "BentoService BentoServiceArtifact api_decorator artifacts_decorator env_decorator",
    "bentoml.service.artifacts.common": "PickleArtifact JSONArtifact TextFileArtifact",
    "bentoml.utils.cloudpickle": "dumps loads dump load",
    "bentoml.frameworks.pytorch": "PytorchModelArtifact PytorchLightningModelArtifact",
    "bentoml.frameworks.tensorflow": "TensorflowSavedModelArtifact",
    "bentoml.frameworks.keras": "KerasModelArtifact",
    "bentoml.frameworks.onnx": "OnnxModelArtifact",
    "bentoml.frameworks.fastai": "FastaiModelArtifact Fastai1ModelArtifact",
    "bentoml.frameworks.transformers": "TransformersModelArtifact",
}
BODY = """
import importlib
from bentoml.adapters import JsonInput
from bentoml.yatai.client import get_yatai_client
from bentoml.saved_bundle import load_saved_bundle_config


class Doubler(bentoml.BentoService):
    @bentoml.api(input=JsonInput(), batch=True)
    def predict(self, modules):
        return [self.missing(name, names.split()) for name, names in modules]

    def missing(self, name, names):
        module = importlib.import_module(name)
        return [each for each in names if not hasattr(module, each)]

    def manifest(self, path):
        return load_saved_bundle_config(path)

    def client(self):
        return get_yatai_client("127.0.0.1:50051")
"""


def test_every_documented_name_is_there(tmp_path: Path) -> None:
    """Imported when the code runs, as from a function; none of them is missing."""
    service = service_of(tmp_path / "old", BODY)
    assert service.predict(list(DOCUMENTED.items())) == [[] for _ in DOCUMENTED]


def test_code_that_looks_at_bundles_is_answered(tmp_path: Path) -> None:
    """A manifest by its keys; Yatai with a line that says where saved bundles are now."""
    service = service_of(tmp_path / "old", BODY)
    found = service.manifest(tmp_path / "old" / "old")
    assert (found.kind, found["metadata"]["service_name"], found.get("none", 7)) == ("BentoService", "Doubler", 7)
    with pytest.raises(UsageError, match=r"Yatai 127\.0\.0\.1:50051, which bentobatch does not speak to"):
        service.client()
