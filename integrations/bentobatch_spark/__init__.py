"""This package is bentobatch on Spark: jobs split over executors, and predictions for Spark DataFrames."""
