"""This package is the command line: the only place that prints, colours and exits."""
