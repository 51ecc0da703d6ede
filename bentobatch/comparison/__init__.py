"""This package compares what two bundles make of one input: which rows changed, and how each prediction shifted."""
