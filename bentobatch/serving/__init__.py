"""This module is the online case: requests of few rows, joined into record batches and scored together."""
