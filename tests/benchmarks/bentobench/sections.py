"""This module lets two commands write one page: each replaces what is its own, and leaves the other's as it is."""

from __future__ import annotations

import re

BEGIN, END = "<!-- make bench-online: begin -->", "<!-- make bench-online: end -->"
_SECTION = re.compile(rf"{re.escape(BEGIN)}.*?{re.escape(END)}\n?", re.DOTALL)


def with_section_of(old: str, page: str) -> str:
    """The new ``page`` of `make bench`, with the section that `make bench-online` has put into the ``old`` one."""
    found = _SECTION.search(old)
    return page if found is None else f"{page.rstrip()}\n\n{found[0]}"


def with_section(page: str, section: str) -> str:
    """The ``page`` with this section of `make bench-online`, in the place of the one before or at the end."""
    marked = f"{BEGIN}\n{section.strip()}\n{END}\n"
    if _SECTION.search(page):
        return _SECTION.sub(lambda _: marked, page, count=1)
    return f"{page.rstrip() or '# Performance'}\n\n{marked}"
