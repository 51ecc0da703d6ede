"""This package makes the benchmarks' data, runs and measures the runners, and renders what they showed."""
