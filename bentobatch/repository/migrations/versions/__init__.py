"""This package has one file for each step, numbered; see schema.py for how to add one."""
