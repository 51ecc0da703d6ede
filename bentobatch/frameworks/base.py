"""This module says what an artifact is: a model object on one side, files in a bundle's folder on the other."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from bentobatch.errors import UsageError
from bentobatch.frameworks.bentoml_style import adopt_methods, is_redirect
from bentobatch.frameworks.hosted_models import model_host
from bentobatch.frameworks.metadata import ReadOnlyDict, read_only
from bentobatch.frameworks.unpickle import refuse_if_pickles_are_refused


class BentoServiceArtifact(ABC):
    """A named slot for one model. Subclass it and write ``save_model`` and ``load_model`` to support another library.

    ``pip_packages`` are the distributions that loading needs beyond what the pickled object itself names.
    ``uses_pickle`` says that ``load_model`` unpickles, which --no-pickle refuses. A subclass in the manner of
    BentoML 0.13, which overrides pack, save, load or get, works as well (see bentoml_style.py). ``loaded_on`` is the
    device of a model that may lie on several ("cpu" or "cuda:0", see devices.py), None for all others.
    """

    pip_packages: ClassVar[tuple[str, ...]] = ()
    uses_pickle: ClassVar[bool] = True

    loaded_on: str | None = None
    name: str
    _model: Any
    _packed: bool
    _metadata: ReadOnlyDict
    _made_with: tuple[tuple[Any, ...], dict[str, Any]]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        adopt_methods(cls)

    def __new__(cls, *args: Any, **options: Any) -> BentoServiceArtifact:
        artifact = super().__new__(cls)
        artifact._made_with = (args, options)
        artifact._model, artifact._packed, artifact._metadata = None, False, ReadOnlyDict()
        return artifact

    def __init__(self, name: str) -> None:
        if not isinstance(name, str) or not name.isidentifier() or not name.isascii():
            raise UsageError(f"artifact name {name!r} is not a plain Python identifier; choose one, such as 'model'")
        self.name = name

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {'packed' if self._packed else 'empty'})"

    @property
    def packed(self) -> bool:
        """Whether a model was packed or loaded."""
        return self._packed

    is_ready = loaded = packed
    """``packed`` under the names that it has in BentoML 0.13 too."""

    @property
    def metadata(self) -> ReadOnlyDict:
        """What the caller of ``pack`` said about the model; a dict that is read-only to its depth."""
        return self._metadata

    def fresh(self) -> BentoServiceArtifact:
        """An empty artifact, made with the same arguments: each instance of a service has its own."""
        args, options = self._made_with
        return type(self)(*args, **options)

    def pack(self, model: Any, *, metadata: Mapping[str, Any] | None = None) -> BentoServiceArtifact:
        """Put ``model`` into the slot, in place of one that was there.

        Raises:
            TypeError: metadata is no dict.
            UsageError: the model is not of this artifact's kind (see ``check``), or metadata cannot be written down.
        """
        kept = read_only(metadata, self.name)
        self._model = self.check(model)
        self._metadata = kept
        self._packed = True
        return self

    def get(self) -> Any:
        """The native model object."""
        if not self._packed:
            raise UsageError(f"artifact {self.name!r} holds no model yet: call pack({self.name!r}, model) first")
        return self._model

    def check(self, model: Any) -> Any:
        """Accept, convert or refuse a model that is being packed; raises UsageError with what is expected."""
        return model

    @abstractmethod
    def save_model(self, folder: Path) -> None:
        """Write the model into ``folder`` (the bundle's artifacts folder) as files that begin with ``self.name`` and a
        dot (or an underscore and more), so that two artifacts never write the same file."""

    @abstractmethod
    def load_model(self, folder: Path) -> Any:
        """The model that ``save_model`` wrote there. Unpickling goes through bentobatch.frameworks.unpickle only."""

    def save(self, dst: str | Path) -> None:
        """``save_model`` under BentoML's name, for subclasses in its manner that call ``super().save(dst)``."""
        for cls in type(self).__mro__:
            save_model = vars(cls).get("save_model")
            if save_model is not None and not is_redirect(save_model):
                save_model(self, Path(dst))
                return

    def load(self, folder: Path, *, metadata: Mapping[str, Any] | None = None) -> BentoServiceArtifact:
        """Fill the slot from a bundle.

        Raises:
            BundleError: the files are missing or damaged, or --no-pickle refuses them.
            MissingDependencyError: the model's library is not installed.
        """
        self.refuse_pickle(Path(folder))
        host, pickled = model_host.get(), self.pickle_file(Path(folder))
        self._model = (
            self.load_model(Path(folder)) if host is None or pickled is None else host.load(pickled, self.owner)
        )
        self._metadata = read_only(metadata, self.name)
        self._packed = True
        return self

    def pickle_file(self, folder: Path) -> Path | None:  # noqa: ARG002 - the folder matters where there is such a file
        """The one file that holds the model as a pickle, which a process of another Python can load (see hosted_models); None
        where the model is kept otherwise."""
        return None

    def refuse_pickle(self, folder: Path) -> None:
        """Raise BundleError where --no-pickle was given and loading this artifact would unpickle."""
        if self.uses_pickle:
            refuse_if_pickles_are_refused(folder / f"{self.name}.*", self.owner)

    @property
    def owner(self) -> str:
        """What messages call this artifact."""
        return f"{type(self).__name__} {getattr(self, 'name', '')!r}"

    def set_dependencies(self, env: Any) -> None:  # noqa: B027 - a hook, not a duty
        """Add to the service's environment what loading needs, as in BentoML 0.13: ``env.add_pip_packages([...])``."""

    def feature_names(self) -> Sequence[str] | None:
        """The columns that the packed model was fitted on, in order, where it knows them."""
        return None

    def feature_count(self) -> int | None:
        """How many features the packed model takes, where it knows."""
        return None

    def classes(self) -> Sequence[Any] | None:
        """The class labels in the order of a 2-D result's columns, where the model has them."""
        return None

    def config(self) -> dict[str, Any]:
        """The options as JSON values, for the bundle's manifest (the name excluded)."""
        return {}
