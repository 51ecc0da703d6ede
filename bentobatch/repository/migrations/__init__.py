"""This package has the steps by which the catalog's tables came to be what they are; Alembic runs them."""
