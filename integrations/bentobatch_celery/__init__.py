"""This package is bentobatch on Celery: jobs split over its workers, and queued single rows scored in batches."""
