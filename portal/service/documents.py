"""Texts that a site may replace by its own: privacy notice, terms, help. Markdown, one file per language.

`site.documents` names a folder whose files win over ours: `privacy.en.md`, `privacy.zh_Hant_HK.md` and so on.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from markdown_it import MarkdownIt
from markupsafe import Markup

from portal.locale import ENGLISH
from portal.service.desk import Desk
from portal.settings import Site
from portal.store import people

OURS = Path(__file__).parent / "documents"
TO_ACCEPT = ("privacy", "terms")
"""What everybody accepts once, in the version of `site.terms_version`."""


class NotAccepted(Exception):
    """The terms in force have not been accepted by this person yet."""


def require(desk: Desk, person: str) -> None:
    """Raise NotAccepted unless the person has accepted the terms in force. Who has is remembered by the process."""
    if person in desk.accepted:
        return
    with desk.store.read() as db:
        known = people.accepted(db, person)
    if any((document, desk.settings.site.terms_version) not in known for document in TO_ACCEPT):
        raise NotAccepted
    desk.accepted.add(person)


def accept(desk: Desk, person: str, where: str) -> None:
    """Record that the person accepts what is in force; safe to repeat."""
    version = desk.settings.site.terms_version
    with desk.store.write() as db:
        for document in TO_ACCEPT:
            if people.accept(db, person, document, version, desk.now()):
                desk.note(db, person, "consent.accepted", document, where, version=version)


def html(site: Site, name: str, language: str, level: int = 2) -> Markup:
    """A document as HTML, in that language or, where a site has written only English, in that.

    level: of its headings, which are written as `###`.
    """
    values = (
        ("{name}", site.name),
        ("{name_zh}", site.name_zh),
        ("{contact}", site.contact),
        ("{operators}", site.operators or site.contact),
    )
    html = str(_rendered(_file(site, name, language), values))  # Markup would escape what it replaces
    return Markup(html.replace("h3>", f"h{level}>"))


def _file(site: Site, name: str, language: str) -> Path:
    folders = [folder for folder in (site.documents, OURS) if folder]
    files = [folder / f"{name}.{tongue}.md" for folder in folders for tongue in (language, ENGLISH)]
    return next(file for file in files if file.is_file())


@cache
def _rendered(file: Path, values: tuple[tuple[str, str], ...]) -> Markup:
    text = file.read_text()
    for place, value in values:
        text = text.replace(place, value)
    # no HTML inside, and no links but to pages and mail: "commonmark" refuses javascript: addresses
    return Markup(MarkdownIt("commonmark", {"html": False}).enable("table").render(text))
