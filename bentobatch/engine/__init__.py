"""This package scores whole inputs: it plans a job, runs its splits anywhere, and commits the parts as one output."""
