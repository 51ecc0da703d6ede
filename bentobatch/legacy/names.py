"""This module is the table of the names that bentobatch provides of BentoML's modules, and where each one comes from.

A target is "adapter:NAME" or "artifact:NAME" (a plug-in's), "module:attribute", or "bundle:NAME" for what differs from one
bundle to another (provided.py makes these).
"""

from __future__ import annotations

_LEGACY = "bentobatch.legacy"
_SERVICE = f"{_LEGACY}.service"

_ADAPTERS = (
    "BaseInputAdapter", "BaseOutputAdapter", "DataframeInput", "DataframeOutput", "TfTensorInput", "TfTensorOutput",
    "JsonInput", "StringInput", "JsonOutput", "ImageInput", "MultiImageInput", "FileInput", "MultiFileInput",
    "AnnotatedImageInput", "ClipperBytesInput", "ClipperDoublesInput", "ClipperFloatsInput", "ClipperIntsInput",
    "ClipperStringsInput", "DefaultOutput", "LegacyJsonInput", "LegacyImageInput", "FastaiImageInput",
)  # fmt: skip
_HANDLERS = (
    "BentoHandler", "DataframeHandler", "TensorflowTensorHandler", "JsonHandler", "ImageHandler", "FastaiImageHandler",
    "ClipperBytesHandler", "ClipperDoublesHandler", "ClipperFloatsHandler", "ClipperIntsHandler", "ClipperStringsHandler",
)  # fmt: skip
_COMMON = ("PickleArtifact", "JSONArtifact", "TextFileArtifact")
_FRAMEWORKS = {
    "coreml": ("CoreMLModelArtifact",),
    "detectron": ("DetectronModelArtifact",),
    "easyocr": ("EasyOCRArtifact",),
    "evalml": ("EvalMLModelArtifact",),
    "fastai": ("FastaiModelArtifact", "Fastai1ModelArtifact"),
    "fasttext": ("FasttextModelArtifact",),
    "gluon": ("GluonModelArtifact",),
    "h2o": ("H2oModelArtifact",),
    "keras": ("KerasModelArtifact",),
    "lightgbm": ("LightGBMModelArtifact",),
    "onnx": ("OnnxModelArtifact",),
    "onnxmlir": ("OnnxMlirModelArtifact",),
    "paddle": ("PaddlePaddleModelArtifact",),
    "pytorch": ("PytorchModelArtifact", "PytorchLightningModelArtifact"),
    "sklearn": ("SklearnModelArtifact",),
    "spacy": ("SpacyModelArtifact",),
    "tensorflow": ("TensorflowSavedModelArtifact",),
    "transformers": ("TransformersModelArtifact",),
    "xgboost": ("XgboostModelArtifact",),
}
_ARTIFACT_BASES = {
    "BentoServiceArtifact": "bentobatch.frameworks.base:BentoServiceArtifact",
    "ArtifactCollection": "bentobatch.service.artifacts:ArtifactCollection",
}
_TYPES = (
    "JsonSerializable", "AwsLambdaEvent", "HTTPHeaders", "HTTPRequest", "HTTPResponse", "FileLike", "InferenceTask",
    "InferenceResult", "InferenceError", "Input", "Output", "ApiFuncArgs", "BatchApiFuncArgs", "ApiFuncReturnValue",
    "BatchApiFuncReturnValue", "BATCH_HEADER", "HEADER_CHARSET", "JSON_CHARSET",
)  # fmt: skip
_EXCEPTIONS = (
    "BentoMLException", "RemoteException", "Unauthenticated", "InvalidArgument", "APIDeprecated", "BadInput", "NotFound",
    "FailedPrecondition", "LockUnavailable", "ArtifactLoadingException", "BentoMLConfigException",
    "MissingDependencyException", "YataiServiceException", "YataiServiceRpcAborted", "YataiDeploymentException",
    "YataiRepositoryException", "YataiLabelException", "AWSServiceError", "AzureServiceError", "CLIException",
)  # fmt: skip
_SAVED_BUNDLE = {
    "save_to_dir": f"{_SERVICE}:save_to_dir",
    "load_from_dir": f"{_SERVICE}:load",
    "load": f"{_SERVICE}:load",
    "load_bento_service_class": f"{_SERVICE}:load_class",
    "load_bento_service_api": f"{_SERVICE}:load_api",
    "load_saved_bundle_config": f"{_LEGACY}.repository:load_saved_bundle_config",
}
_DECORATED = {
    "BentoService": f"{_SERVICE}:BentoService",
    "api_decorator": "bundle:api",
    **{f"{name}_decorator": f"{_SERVICE}:{name}" for name in ("env", "artifacts", "ver", "web_static_content")},
    "save": f"{_SERVICE}:save",
}
_CONFIGURATION = {
    name: f"{_LEGACY}.settings:{name}"
    for name in (
        "config", "expand_env_var", "get_local_config_file", "get_debug_mode", "set_debug_mode", "inject_dependencies",
        "get_bentoml_deploy_version",
    )
} | dict.fromkeys(("BENTOML_VERSION", "LAST_PYPI_RELEASE_VERSION"), "bundle:version")  # fmt: skip
_ENV = {"BentoServiceEnv": "bentobatch.service.environment:Environment"}
_ALL_ARTIFACTS = {
    name: f"artifact:{name}" for names in (*_FRAMEWORKS.values(), _COMMON, ("Fastai2ModelArtifact",)) for name in names
}


def _homes() -> dict[str, dict[str, str]]:
    adapters = {name: f"adapter:{name}" for name in _ADAPTERS}
    table: dict[str, dict[str, str]] = {
        "bentoml": {
            "__version__": "bundle:version",
            "BentoService": f"{_SERVICE}:BentoService",
            "api": "bundle:api",
            **{
                name: f"{_SERVICE}:{name}" for name in ("env", "artifacts", "ver", "web_static_content", "save", "load")
            },
            "load_from_dir": f"{_SERVICE}:load",
            "save_to_dir": f"{_SERVICE}:save_to_dir",
            "config": f"{_LEGACY}.settings:config",
            "configure_logging": f"{_LEGACY}.settings:configure_logging",
        },
        "bentoml.adapters": adapters,
        "bentoml.handlers": {name: f"adapter:{name}" for name in _HANDLERS},
        "bentoml.artifact": _ARTIFACT_BASES | _ALL_ARTIFACTS,
        "bentoml.frameworks": {},
        "bentoml.service": _DECORATED
        | _ARTIFACT_BASES
        | {"InferenceAPI": "bentobatch.service.apis:InferenceAPI"}
        | _ENV,
        "bentoml.service.artifacts": dict(_ARTIFACT_BASES),
        "bentoml.service.artifacts.common": {name: f"artifact:{name}" for name in _COMMON},
        "bentoml.service.artifacts.pickle": {"PickleArtifact": "artifact:PickleArtifact"},
        "bentoml.service.artifacts.json_file": {"JSONArtifact": "artifact:JSONArtifact"},
        "bentoml.service.artifacts.text_file": {"TextFileArtifact": "artifact:TextFileArtifact"},
        "bentoml.service.env": dict(_ENV),
        "bentoml.service_env": dict(_ENV),
        "bentoml.service.inference_api": {"InferenceAPI": "bentobatch.service.apis:InferenceAPI"},
        "bentoml.types": {name: f"{_LEGACY}.types:{name}" for name in _TYPES},
        "bentoml.exceptions": {name: f"{_LEGACY}.exceptions:{name}" for name in _EXCEPTIONS},
        "bentoml.configuration": dict(_CONFIGURATION),
        "bentoml.saved_bundle": dict(_SAVED_BUNDLE),
        "bentoml.saved_bundle.loader": dict(_SAVED_BUNDLE),
        "bentoml.bundler": dict(_SAVED_BUNDLE),
        "bentoml.utils": {
            "cached_property": f"{_LEGACY}.settings:cached_property",
            "expand_env_var": f"{_LEGACY}.settings:expand_env_var",
        },
        "bentoml.utils.cloudpickle": {},
        "bentoml.yatai": {},
        "bentoml.yatai.client": {"get_yatai_client": f"{_LEGACY}.repository:get_yatai_client"},
        "bentoml.utils.log": {"configure_logging": f"{_LEGACY}.settings:configure_logging"},
        "bentoml.utils.lazy_loader": {"LazyLoader": f"{_LEGACY}.settings:LazyLoader"},
        "bentoml.utils.tempdir": {"TempDirectory": f"{_LEGACY}.settings:TempDirectory"},
    }
    for module, names in _FRAMEWORKS.items():
        table[f"bentoml.frameworks.{module}"] = {name: f"artifact:{name}" for name in names}
    for home, kind, held in _SINGLE:
        table[home] = {name: f"{kind}:{name}" for name in held}
    return table


_SINGLE: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("bentoml.adapters.base_input", "adapter", ("BaseInputAdapter",)),
    ("bentoml.adapters.base_output", "adapter", ("BaseOutputAdapter",)),
    ("bentoml.adapters.annotated_image_input", "adapter", ("AnnotatedImageInput",)),
    ("bentoml.adapters.dataframe_input", "adapter", ("DataframeInput",)),
    ("bentoml.adapters.dataframe_output", "adapter", ("DataframeOutput",)),
    ("bentoml.adapters.default_output", "adapter", ("DefaultOutput",)),
    ("bentoml.adapters.file_input", "adapter", ("FileInput",)),
    ("bentoml.adapters.image_input", "adapter", ("ImageInput",)),
    ("bentoml.adapters.json_input", "adapter", ("JsonInput",)),
    ("bentoml.adapters.json_output", "adapter", ("JsonOutput",)),
    ("bentoml.adapters.multi_file_input", "adapter", ("MultiFileInput",)),
    ("bentoml.adapters.multi_image_input", "adapter", ("MultiImageInput",)),
    ("bentoml.adapters.string_input", "adapter", ("StringInput",)),
    ("bentoml.adapters.pytorch_tensor_input", "adapter", ("PytorchTensorInput",)),
    ("bentoml.adapters.tensorflow_tensor_input", "adapter", ("TfTensorInput",)),
    ("bentoml.adapters.tensorflow_tensor_output", "adapter", ("TfTensorOutput",)),
    ("bentoml.artifact.artifact", "artifact", ()),
    ("bentoml.artifact.pickle_artifact", "artifact", ("PickleArtifact",)),
    ("bentoml.artifact.text_file_artifact", "artifact", ("TextFileArtifact",)),
    ("bentoml.artifact.json_artifact", "artifact", ("JSONArtifact",)),
    ("bentoml.artifact.sklearn_model_artifact", "artifact", ("SklearnModelArtifact",)),
    ("bentoml.artifact.xgboost_model_artifact", "artifact", ("XgboostModelArtifact",)),
    ("bentoml.artifact.lightgbm_model_artifact", "artifact", ("LightGBMModelArtifact",)),
    ("bentoml.artifact.pytorch_model_artifact", "artifact", ("PytorchModelArtifact",)),
    ("bentoml.artifact.keras_model_artifact", "artifact", ("KerasModelArtifact",)),
    ("bentoml.artifact.onnx_model_artifact", "artifact", ("OnnxModelArtifact",)),
    ("bentoml.artifact.tf_savedmodel_artifact", "artifact", ("TensorflowSavedModelArtifact",)),
    ("bentoml.artifact.fastai_model_artifact", "artifact", ("FastaiModelArtifact",)),
    ("bentoml.artifact.fasttext_model_artifact", "artifact", ("FasttextModelArtifact",)),
    ("bentoml.artifact.spacy_model_artifact", "artifact", ("SpacyModelArtifact",)),
    ("bentoml.artifact.h2o_model_artifact", "artifact", ("H2oModelArtifact",)),
)
"""Modules that hold one class each, by which pickles and careful people name them."""

NAMES = _homes()
NAMES["bentoml.artifact.artifact"] |= _ARTIFACT_BASES
