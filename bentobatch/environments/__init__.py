"""This package makes and finds the environments that workers run in: interpreters with the libraries of a bundle."""
