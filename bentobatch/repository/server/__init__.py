"""This package is the repository's server: an HTTP API and web pages over one catalog and one storage; see app.py."""
