"""This module is the door to the formats: bytes and files on one side, record batches on the other.

Nothing is imported here, since every format needs a heavy library: take what you need from the modules themselves
(``base`` for the contract, ``discover`` and ``source`` for files, ``write`` for outputs), a format through ``plugins``.
"""
