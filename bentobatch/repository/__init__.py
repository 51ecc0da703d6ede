"""This package is where saved bundles live and how a tag finds one; see local.py for the folder on this machine."""
