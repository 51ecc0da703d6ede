"""This module is ``bentoml.exceptions``: the classes that old services raise and catch. They are no errors of bentobatch's
own, so that one raised in an api costs its row, as any other exception does."""

from __future__ import annotations

from typing import ClassVar


class BentoMLException(Exception):  # noqa: N818 - BentoML's names, here and below
    """The base of them. ``status_code`` is the HTTP status that BentoML's server answered."""

    status_code: ClassVar[int] = 500


class RemoteException(BentoMLException):
    """A server's own error, with its ``payload``."""

    def __init__(self, *args: object, payload: object = None) -> None:
        super().__init__(*args)
        self.payload = payload


class Unauthenticated(BentoMLException):
    status_code = 401


class InvalidArgument(BentoMLException):
    status_code = 400


class APIDeprecated(BentoMLException):
    status_code = 400


class BadInput(InvalidArgument):
    pass


class NotFound(BentoMLException):
    status_code = 404


class FailedPrecondition(BentoMLException):
    pass


class LockUnavailable(BentoMLException):
    pass


class ArtifactLoadingException(BentoMLException):
    pass


class BentoMLConfigException(BentoMLException):
    pass


class MissingDependencyException(BentoMLException):
    pass


class YataiServiceException(BentoMLException):
    pass


class YataiServiceRpcAborted(YataiServiceException):
    pass


class YataiDeploymentException(YataiServiceException):
    pass


class YataiRepositoryException(YataiServiceException):
    pass


class YataiLabelException(YataiServiceException):
    pass


class AWSServiceError(YataiDeploymentException):
    pass


class AzureServiceError(YataiDeploymentException):
    pass


class CLIException(BentoMLException):
    pass
