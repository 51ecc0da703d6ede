"""This package turns a service into a self-contained folder, the bundle, and a bundle into a service again."""
