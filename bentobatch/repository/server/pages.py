"""This module is the server's web pages: bundles, the versions of one, one version, and its deletion.

They are made on the server and work without JavaScript. Bundles come from strangers: everything of theirs is shown as
text that the templates escape, none of it becomes a link, and what may be copied into a shell is quoted for it.
"""

from __future__ import annotations

import datetime
import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from flask import Blueprint, Response, g, redirect, render_template, request, url_for
from werkzeug.exceptions import BadRequest, NotFound, Unauthorized
from werkzeug.wrappers import Response as AnyResponse

from bentobatch.errors import UsageError
from bentobatch.labels import Selector
from bentobatch.repository.base import one_version
from bentobatch.repository.entry import Entry
from bentobatch.repository.server.auth import SESSION
from bentobatch.repository.server.content import input_examples
from bentobatch.repository.server.guard import COOKIE, FORM_KEY
from bentobatch.repository.server.state import State
from bentobatch.tags import Tag, check_name

PAGE = 40
"""Bundles on one page."""
_MOST_SHOWN = 20_000
"""Characters of one text or value that a page shows."""
_LINE = 60
"""Characters of a value that stands in one line."""
_STATIC = {"style.css": "text/css", "page.js": "text/javascript", "icon.svg": "image/svg+xml"}
_TITLES = {400: "That is not possible", 401: "Sign in", 403: "Not allowed", 404: "Not found", 409: "Conflict"}


@dataclass(frozen=True)
class Command:
    """One line for the terminal."""

    title: str
    text: str


class Pages:
    """The views of the web page."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._repository = state.repository
        folder = files("bentobatch.repository.server") / "static"
        self._static = {name: (folder / name).read_bytes() for name in _STATIC}

    def blueprint(self) -> Blueprint:
        """The routes, and what the templates use."""
        found = Blueprint("pages", __name__)
        one = "/bundles/<name>/<version>"
        found.add_url_rule("/", "index", self.index)
        found.add_url_rule("/bundles/<name>", "bundle", self.bundle)
        found.add_url_rule(one, "version", self.version)
        found.add_url_rule(f"{one}/delete", "ask_delete", self.ask_delete)
        found.add_url_rule(f"{one}/delete", "delete", self.delete, methods=["POST"])
        found.add_url_rule("/sign-in", "sign_in", self.sign_in)
        found.add_url_rule("/sign-in", "signed_in", self.signed_in, methods=["POST"])
        found.add_url_rule("/sign-out", "sign_out", self.sign_out, methods=["POST"])
        found.add_url_rule("/static/<name>", "static", self.static)
        for filter in (size_text, age_text, shown_json, shown_text):
            found.add_app_template_filter(filter)
        found.app_context_processor(self._context)
        return found

    # -- looking ------------------------------------------------------------------------------------------------------

    def index(self) -> str:
        """The names, each with its newest version, that the search and the label selector leave."""
        search, labels = request.args.get("q", "").strip()[:200], request.args.get("labels", "").strip()[:2000]
        entries, fault = self._selected(None, labels)
        groups: dict[str, list[Entry]] = {}
        for entry in entries:
            if search.lower() in str(entry.tag).lower():
                groups.setdefault(entry.name, []).append(entry)
        page, pages = _page(len(groups))
        shown = list(groups.items())[(page - 1) * PAGE : page * PAGE]
        return render_template(
            "list.html",
            groups=shown,
            count=len(groups),
            search=search,
            labels=labels,
            fault=fault,
            page=page,
            pages=pages,
        )

    def bundle(self, name: str) -> str:
        """The versions of one name."""
        labels = request.args.get("labels", "").strip()[:2000]
        latest = self._repository.get(Tag(check_name(name)))  # a name that is not there is an error
        entries, fault = self._selected(name, labels)
        page, pages = _page(len(entries))
        return render_template(
            "bundle.html",
            name=name,
            latest=latest,
            entries=entries[(page - 1) * PAGE : page * PAGE],
            count=len(entries),
            labels=labels,
            fault=fault,
            page=page,
            pages=pages,
        )

    def version(self, name: str, version: str) -> str:
        """All that is known of one version."""
        entry = self._repository.get(Tag(name, version))
        return render_template(
            "version.html",
            entry=entry,
            setup=f"bentobatch config set repository_url={self._state.base_url}",
            commands=commands(entry),
            examples=input_examples(self._repository, entry.tag),
        )

    def _selected(self, name: str | None, labels: str) -> tuple[Sequence[Entry], str]:
        """The entries, and what is wrong with the selector; then it selects nothing."""
        try:
            Selector.parse(labels)
        except UsageError as error:
            return [], str(error)
        return self._repository.list(name, labels=labels), ""

    # -- changing -----------------------------------------------------------------------------------------------------

    def ask_delete(self, name: str, version: str) -> str:
        """Whether it is really meant."""
        return render_template("delete.html", entry=self._repository.get(one_version(Tag(name, version), "delete")))

    def delete(self, name: str, version: str) -> AnyResponse:
        """The form that was sent; guard.py has looked at it."""
        tag = one_version(Tag(name, version), "delete")
        self._repository.delete(tag)
        there = bool(self._repository.list(tag.name, limit=1))
        return redirect(url_for("pages.bundle", name=tag.name) if there else url_for("pages.index"), 303)

    def sign_in(self) -> Response:
        """The form that asks for the token."""
        return self._sign_in_page("", 200)

    def signed_in(self) -> AnyResponse:
        """The token that was given."""
        tokens = self._state.options.tokens
        if tokens is None:
            raise BadRequest("this server asks for no token")
        token = tokens.find(request.form.get("token", "").strip())
        if token is None:
            return self._sign_in_page("This token is not known here.", 401)
        response = redirect(url_for("pages.index"), 303)
        response.set_cookie(
            COOKIE,
            self._state.sessions.begin(token),
            max_age=SESSION,
            httponly=True,
            samesite="Strict",
            secure=self._state.is_https,
        )
        return response

    def sign_out(self) -> AnyResponse:
        """End the session, here and in the browser."""
        self._state.sessions.end(g.session)
        response = redirect(url_for("pages.sign_in"), 303)
        response.delete_cookie(COOKIE, httponly=True, samesite="Strict", secure=self._state.is_https)
        return response

    def failure(self, status: int, message: str) -> Response:
        """What a person sees of an error."""
        if status == Unauthorized.code:
            return self._sign_in_page("", status)
        title = _TITLES.get(status, "Something went wrong")
        return Response(render_template("error.html", title=title, message=message), status)

    # -- the parts of all that ----------------------------------------------------------------------------------------

    def static(self, name: str) -> Response:
        """One of the files that came with this package, by its name in a list."""
        if name not in self._static:
            raise NotFound("there is no such file")
        return Response(self._static[name], mimetype=_STATIC[name], headers={"Cache-Control": "no-cache"})

    def _sign_in_page(self, fault: str, status: int) -> Response:
        return Response(render_template("sign_in.html", fault=fault), status)

    def _context(self) -> dict[str, Any]:
        session = g.get("session", "")
        return {
            "form_key": self._state.sessions.form_key(session),
            "form_key_name": FORM_KEY,
            "signed_in": bool(session),
            "may_write": "write" in g.get("rights", ()),
            "now": datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None),
        }


def commands(entry: Entry) -> list[Command]:
    """What one does with the bundle, ready for a shell. Names of apis come from a stranger, and are quoted."""
    tag = str(entry.tag)
    apis = [str(api.get("name")) for api in entry.metadata.get("apis", ())]
    plain = [shlex.quote(api) for api in apis if api.isprintable() and len(api) < 200]
    return [
        *(
            Command(f"Run {api}", f"bentobatch run {tag} {api} --input-file rows.parquet --output-file scored.parquet")
            for api in plain
        ),
        Command("Serve", f"bentobatch serve {tag}"),
        Command("Retrieve", f"bentobatch retrieve {tag} --target-dir ./{entry.name}_{entry.version}"),
        Command("Containerize", f"bentobatch containerize {tag}"),
    ]


def size_text(size: int) -> str:
    """Bytes for people, in powers of 1024."""
    number = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"


def age_text(created: datetime.datetime, now: datetime.datetime) -> str:
    """How long ago, in the largest unit."""
    seconds = max(0, int((now - created).total_seconds()))
    for unit, length in (("year", 31_557_600), ("month", 2_629_800), ("day", 86_400), ("hour", 3600), ("minute", 60)):
        count = seconds // length
        if count:
            return f"{count} {unit}{'' if count == 1 else 's'} ago"
    return "just now"


def shown_json(value: Any) -> str:
    """A value in lines of a readable width, cut where it is very long."""
    try:
        line = json.dumps(value, ensure_ascii=False, default=str)
        return shown_text(line if len(line) > 5 * _MOST_SHOWN else _json_lines(value, ""))
    except RecursionError:  # an example in docs.json may be nested as deep as its parser bears
        return "too deeply nested to be shown"


def _json_lines(value: Any, indent: str) -> str:
    line = json.dumps(value, ensure_ascii=False, default=str)
    if len(line) <= _LINE or not isinstance(value, (dict, list)):
        return line
    inner = f"{indent}  "
    if isinstance(value, dict):
        parts = [f"{json.dumps(str(key), ensure_ascii=False)}: {_json_lines(one, inner)}" for key, one in value.items()]
    else:
        parts = [_json_lines(one, inner) for one in value]
    begin, end = "{}" if isinstance(value, dict) else "[]"
    return f"{begin}\n{inner}" + f",\n{inner}".join(parts) + f"\n{indent}{end}"


def shown_text(value: Any) -> str:
    """A text, cut where it is very long."""
    text = str(value)
    return (
        text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}\n… and {len(text) - _MOST_SHOWN:,} characters more"
    )


def _page(count: int) -> tuple[int, int]:
    """The page that is asked for, from 1, and how many there are."""
    pages = max(1, -(-count // PAGE))
    text = request.args.get("page", "1")
    page = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 1
    return min(max(page, 1), pages), pages
