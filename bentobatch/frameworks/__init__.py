"""This package turns models into files and back, one small module for each library; see base.py for the contract.

Import an artifact from its own module (``from bentobatch.frameworks.sklearn import SklearnModelArtifact``): importing
this package, or any module of it, imports none of the libraries.
"""
