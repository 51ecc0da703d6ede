"""This package says what a prediction service is, without disks: declarations, apis, environment, core."""
