"""This module keeps PyTorch models, and those of Lightning: in files without a pickle wherever the model allows it."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from bentobatch.devices import torch_device
from bentobatch.errors import BentobatchError, BundleError, UsageError
from bentobatch.frameworks.base import BentoServiceArtifact
from bentobatch.frameworks.libraries import library
from bentobatch.frameworks.text import checked_extension
from bentobatch.frameworks.torch_archives import is_torchscript, load_tensors, pickles_in_export
from bentobatch.frameworks.unpickle import dump_pickle, load_pickle, refuse_if_pickles_are_refused


class PytorchModelArtifact(BentoServiceArtifact):
    """A ``torch.nn.Module``, a TorchScript module, or a ``torch.export.ExportedProgram``, which is used as its module.

    An exported program is in ``<name>.pt2``, TorchScript in ``<name>.pt``, neither with a pickle. Of another module only
    the state is kept, in ``<name>.state.pt``, where ``module`` is given: its class, or a function without arguments that
    makes an empty one. Without it the whole module is a pickle in ``<name>.pt``, as in BentoML 0.13.

    After loading the model is on the device that was asked for (see devices.py), in evaluation mode, and without
    gradients.
    """

    pip_packages: ClassVar[tuple[str, ...]] = ("torch",)

    def __init__(self, name: str, file_extension: str = ".pt", *, module: Callable[[], Any] | None = None) -> None:
        super().__init__(name)
        self.file_extension = checked_extension(file_extension, self.owner)
        self.module = module
        self._program: Any = None

    @property
    def uses_pickle(self) -> bool:  # type: ignore[override]
        """Whether what is packed is stored as a pickle; True while nothing is."""
        if self._program is not None or self.module is not None:
            return False
        return not (self.packed and _is_script(library("torch", self.owner), self._model))

    def config(self) -> dict[str, Any]:
        return {"file_extension": self.file_extension}

    def check(self, model: Any) -> Any:
        torch = library("torch", self.owner)
        program = model if isinstance(model, torch.export.ExportedProgram) else None
        if program is not None:
            model = program.module()
        elif not isinstance(model, torch.nn.Module):
            raise UsageError(
                f"{self.owner} takes a torch.nn.Module, a TorchScript module or a torch.export.ExportedProgram, not a "
                f"{type(model).__name__}: pass the model itself"
            )
        elif self.module is not None and not _is_script(torch, model):
            self._filled(torch, model.state_dict(), UsageError, model)
        self._program = program
        return model

    def save_model(self, folder: Path) -> None:
        torch, model = library("torch", self.owner), self.get()
        if self._program is not None:
            path = folder / f"{self.name}.pt2"
            torch.export.save(self._program, str(path))
            self._refuse_pickles_in(torch, path, UsageError)
        elif _is_script(torch, model):
            with _without_deprecations():
                torch.jit.save(model, str(self._file(folder)))
        elif self.module is not None:
            self._save_state(torch, model, folder / f"{self.name}.state.pt")
        else:
            dump_pickle(_on_cpu(model), self._file(folder), self.owner)

    def refuse_pickle(self, folder: Path) -> None:
        path = self._stored(folder)
        if path == self._file(folder) and path.is_file() and not is_torchscript(path):
            refuse_if_pickles_are_refused(path, self.owner)

    def load_model(self, folder: Path) -> Any:
        torch, path = library("torch", self.owner), self._stored(folder)
        if not path.is_file():
            raise BundleError(f"{self.owner}: the file {path} is missing; save the bundle again, or fetch it again")
        device = torch_device(torch, self.owner)
        if path == self._file(folder) and not is_torchscript(path):
            model = load_pickle(path, self.owner)
            if not isinstance(model, torch.nn.Module):
                raise BundleError(f"{self.owner}: {path} holds a {type(model).__name__}, which is no torch.nn.Module")
        else:
            model = self._loaded_without_pickle(torch, path, device)
        self.loaded_on = device
        return _ready(model.to(device), exported=self._program is not None)

    def _loaded_without_pickle(self, torch: Any, path: Path, device: str) -> Any:
        self._program = None
        try:
            if path.suffix == ".pt2":
                self._refuse_pickles_in(torch, path, BundleError)
                self._program = torch.export.load(str(path))
                passes = library("torch.export.passes", self.owner)  # which torch does not import by itself
                return passes.move_to_device_pass(self._program, device).module()
            if is_torchscript(path):
                with _without_deprecations():
                    return torch.jit.load(str(path), map_location=device)
            state = load_tensors(torch, str(path), device)
        except BentobatchError:
            raise
        except Exception as error:  # PyTorch has no error of its own for a damaged file
            reason = " ".join(str(error).split())[:300]
            raise BundleError(
                f"{self.owner}: PyTorch {torch.__version__} cannot read {path} ({reason}): the file is damaged, or was made "
                "by another version; install that of the bundle's requirements.txt, or save the model again"
            ) from error
        return self._filled(torch, state, BundleError)

    def _filled(self, torch: Any, state: Any, kind: type[BentobatchError], model: Any = None) -> Any:
        """A module made by ``module``, with this state."""
        assert self.module is not None
        try:
            made = self.module()
            if not isinstance(made, torch.nn.Module) or (model is not None and type(made) is not type(model)):
                wanted = "torch.nn.Module" if model is None else type(model).__name__
                raise TypeError(f"it makes a {type(made).__name__}, which is no {wanted}")
            made.load_state_dict(state)
        except (TypeError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:300]
            raise kind(
                f"{self.owner}: module={getattr(self.module, '__name__', self.module)} does not make the module to be "
                f"filled ({reason}): give its class, or a function without arguments that makes an empty one"
            ) from error
        return made

    def _save_state(self, torch: Any, model: Any, path: Path) -> None:
        torch.save(_on_cpu(model).state_dict(), str(path))
        try:
            load_tensors(torch, str(path), "meta")
        except Exception as error:  # as above
            raise UsageError(
                f"{self.owner}: the module's state holds more than tensors ({' '.join(str(error).split())[:200]}): leave "
                "module= out, and the whole module is pickled"
            ) from error

    def _refuse_pickles_in(self, torch: Any, path: Path, kind: type[BentobatchError]) -> None:
        pickled = pickles_in_export(torch, path)
        if pickled:
            raise kind(
                f"{self.owner}: {path} holds pickles ({', '.join(pickled)[:200]}), which an exported program may not: "
                "export it from plain tensors, with example inputs that are tensors"
            )

    def _stored(self, folder: Path) -> Path:
        """The file that is there, of the three that there may be."""
        for suffix in (".pt2", ".state.pt"):
            path = folder / f"{self.name}{suffix}"
            if path.is_file() and (suffix == ".pt2" or self.module is not None):
                return path
        return self._file(folder)

    def _file(self, folder: Path) -> Path:
        return folder / f"{self.name}{self.file_extension}"


class PytorchLightningModelArtifact(PytorchModelArtifact):
    """A ``LightningModule``, kept as TorchScript in ``<name>.pt`` as in BentoML 0.13: what is loaded needs neither Lightning
    nor the module's code. A path of a TorchScript file is taken too, and all that PytorchModelArtifact takes but a
    module that would have to be pickled."""

    uses_pickle: ClassVar[bool] = False

    def __init__(self, name: str) -> None:
        super().__init__(name)

    def config(self) -> dict[str, Any]:
        return {}

    def check(self, model: Any) -> Any:
        torch = library("torch", self.owner)
        if isinstance(model, (str, Path)):
            if not Path(model).is_file() or not is_torchscript(Path(model)):
                raise UsageError(f"{self.owner}: {str(model)!r} is no TorchScript file; give one, or the module")
            model = self._loaded_without_pickle(torch, Path(model), "cpu")
        elif hasattr(model, "to_torchscript"):
            model = self._scripted(model)
        elif not _is_script(torch, model) and not isinstance(model, torch.export.ExportedProgram):
            raise UsageError(
                f"{self.owner} takes a LightningModule, not a {type(model).__name__}: use PytorchModelArtifact for others"
            )
        return super().check(model)

    def refuse_pickle(self, folder: Path) -> None:
        """Nothing is unpickled, whatever stands there."""

    def load_model(self, folder: Path) -> Any:
        path = self._stored(folder)
        if path.is_file() and path.suffix != ".pt2" and not is_torchscript(path):
            raise BundleError(f"{self.owner}: {path} is no TorchScript file; it is damaged, or was replaced")
        return super().load_model(folder)

    def _scripted(self, model: Any) -> Any:
        try:
            with _without_deprecations():
                return model.to_torchscript()
        except Exception as error:  # whatever the compiler of TorchScript raises
            reason = " ".join(str(error).split())[:300]
            raise UsageError(
                f"{self.owner}: {type(model).__name__} is no TorchScript ({reason}): export it with torch.export and pack "
                "the program, or use PytorchModelArtifact"
            ) from error


def _is_script(torch: Any, model: Any) -> bool:
    return isinstance(model, torch.jit.ScriptModule)


def _on_cpu(model: Any) -> Any:
    """The module, or a copy of it on the CPU: a pickle of what lies on a GPU cannot be read without one."""
    if all(tensor.device.type == "cpu" for tensor in (*model.parameters(), *model.buffers())):
        return model
    return copy.deepcopy(model).cpu()


def _ready(model: Any, *, exported: bool) -> Any:
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return model if exported else model.eval()  # an exported program is in the mode that it was exported in


@contextmanager
def _without_deprecations() -> Iterator[None]:
    """TorchScript is deprecated, which tells the user of a bundle nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield
