"""This package is bentobatch on Dask: jobs split over a cluster's workers, and predictions for Dask DataFrames."""
