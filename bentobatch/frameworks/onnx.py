"""This module keeps ONNX models, which are run by ONNX Runtime on the CPU or on a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from bentobatch.devices import asked_device, cuda_number, unavailable
from bentobatch.errors import BundleError, UsageError
from bentobatch.frameworks.base import BentoServiceArtifact
from bentobatch.frameworks.libraries import library

_BACKENDS = ("onnxruntime", "onnxruntime-gpu")
_CPU, _GPU = "CPUExecutionProvider", "CUDAExecutionProvider"


class OnnxModelArtifact(BentoServiceArtifact):
    """An ONNX model in ``<name>.onnx``; tensors that were kept in files of their own are in ``<name>.onnx.data``.

    What is packed is the path of a file, or an ``onnx.ModelProto``; what a service gets is an
    ``onnxruntime.InferenceSession``. ``backend`` is the distribution that runs it, "onnxruntime" or "onnxruntime-gpu".
    A session has ``threads`` threads: one by default, since a job scores several batches at a time, and sums then round
    alike on every machine.
    """

    pip_packages: ClassVar[tuple[str, ...]] = ("onnx", "onnxruntime")
    uses_pickle: ClassVar[bool] = False

    def __init__(self, name: str, backend: str = "onnxruntime", *, threads: int = 1) -> None:
        super().__init__(name)
        if backend not in _BACKENDS:
            raise UsageError(f"{self.owner}: backend {backend!r} is unknown; use one of {', '.join(_BACKENDS)}")
        self.backend = backend
        self.threads = threads
        self.pip_packages = ("onnx", backend)  # type: ignore[misc]  # this one's own
        self._source: Any = None

    def config(self) -> dict[str, Any]:
        return {"backend": self.backend, "threads": self.threads}

    def check(self, model: Any) -> Any:
        """The session of a model file or a ModelProto."""
        onnx = library("onnx", self.owner)
        if isinstance(model, (str, Path)):
            if not Path(model).is_file():
                raise UsageError(f"{self.owner}: there is no file {str(model)!r}: give the path of an .onnx file")
            source = self._read(Path(model), UsageError, with_data=True)
            session = self._session(Path(model), UsageError)
        elif isinstance(model, onnx.ModelProto):
            source = onnx.ModelProto()
            source.CopyFrom(model)
            session = self._session(self._bytes(source), UsageError)
        else:
            raise UsageError(
                f"{self.owner} takes the path of an .onnx file, or an onnx.ModelProto, not a {type(model).__name__}: "
                "export the model to ONNX first"
            )
        self._source = source
        return session

    def save_model(self, folder: Path) -> None:
        source = self._source
        if isinstance(source, Path):
            source = self._read(source, BundleError, with_data=True)
        onnx = library("onnx", self.owner)
        model = onnx.ModelProto()
        model.CopyFrom(source)  # writing takes the external data out of it
        onnx.save_model(model, str(self._file(folder)))

    def load_model(self, folder: Path) -> Any:
        library("onnx", self.owner)
        path = self._file(folder)
        if not path.is_file():
            raise BundleError(f"{self.owner}: the file {path} is missing; save the bundle again, or fetch it again")
        self._read(path, BundleError, with_data=False)
        self._source = path
        return self._session(path, BundleError)

    def feature_names(self) -> list[str] | None:
        """The inputs' names, where each of several is a single value of a row, as exporters of table models make them."""
        inputs = self.get().get_inputs()
        columns = len(inputs) > 1 and all(len(item.shape) == 1 or item.shape[1:] == [1] for item in inputs)
        return [str(item.name) for item in inputs] if columns else None

    def feature_count(self) -> int | None:
        """The width of the one input of rows, or the number of inputs that are columns."""
        names = self.feature_names()
        if names is not None:
            return len(names)
        inputs = self.get().get_inputs()
        shape = inputs[0].shape if len(inputs) == 1 else []
        return shape[1] if len(shape) == 2 and isinstance(shape[1], int) else None

    def _session(self, model: Any, kind: type[Exception]) -> Any:
        """A session of a path, or of a model's bytes; ``kind`` is the error for what is no model."""
        runtime = library("onnxruntime", self.owner)
        device = asked_device()
        options = runtime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self.threads, 1
        options.log_severity_level = 3  # what matters is raised
        available = runtime.get_available_providers()
        if device not in ("auto", "cpu") and _GPU not in available:
            raise unavailable(device, self.owner, "this onnxruntime is for the CPU only; onnxruntime-gpu has CUDA")
        providers: list[Any] = [_CPU]
        if device != "cpu" and _GPU in available:
            providers.insert(0, (_GPU, {"device_id": cuda_number(device)}))
        try:
            session = runtime.InferenceSession(
                str(model) if isinstance(model, Path) else model, options, providers=providers
            )
        except Exception as error:  # onnxruntime's errors have no base of their own
            what = f" {model}" if isinstance(model, Path) else ""
            reason = " ".join(str(error).split())
            raise kind(f"{self.owner}: ONNX Runtime cannot take the model{what} ({reason}); export it again") from error
        self.loaded_on = device if session.get_providers()[0] == _GPU else "cpu"
        if device not in ("auto", "cpu") and self.loaded_on == "cpu":
            raise unavailable(device, self.owner, "CUDA cannot be started")
        return session

    def _read(self, path: Path, kind: type[Exception], *, with_data: bool) -> Any:
        """The ModelProto in a file, after it was checked that its tensors lie nowhere but in files beside it."""
        onnx = library("onnx", self.owner)
        helper = onnx.external_data_helper
        try:
            model = onnx.load(str(path), load_external_data=False)
            for tensor in list(filter(helper.uses_external_data, tensors_of(model))):
                location = helper.ExternalDataInfo(tensor).location
                if Path(location).name != location or not (path.parent / location).is_file():
                    raise ValueError(
                        f"the tensor {tensor.name!r} lies in {location!r}, which is no file beside the model"
                    )
                if with_data:
                    helper.load_external_data_for_tensor(tensor, str(path.parent))
                    helper.set_external_data(tensor, f"{self.name}.onnx.data")  # where it will be written
        except Exception as error:  # protobuf's, onnx's and the file system's, as damage will have it
            reason = " ".join(str(error).split())
            raise kind(f"{self.owner}: {path} is not a whole ONNX model ({reason}); export it again") from error
        return model

    def _bytes(self, model: Any) -> bytes:
        try:
            return bytes(model.SerializeToString())
        except ValueError as error:  # protobuf ends at 2 GiB
            raise UsageError(
                f"{self.owner}: the model is too large for one file ({error}): write it with "
                "onnx.save(model, path, save_as_external_data=True), and pack the path"
            ) from error

    def _file(self, folder: Path) -> Path:
        return folder / f"{self.name}.onnx"


def tensors_of(model: Any) -> Iterator[Any]:
    """Every TensorProto of a model that holds weights, those in subgraphs and functions included."""
    pending = [model.graph, *model.functions]
    while pending:
        graph = pending.pop()
        yield from getattr(graph, "initializer", ())
        for sparse in getattr(graph, "sparse_initializer", ()):
            yield from (sparse.values, sparse.indices)
        for attribute in (attribute for node in graph.node for attribute in node.attribute):
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            pending += [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]
