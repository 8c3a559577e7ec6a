"""Privacy notice, terms and help: in both languages, replaceable by the site, accepted once for each version."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from portal.audit import faults
from portal.locale import CHINESE, ENGLISH
from portal.service import documents
from portal.service.desk import Desk
from portal.service.welcome import HELP
from portal.settings import Database, Settings, Site
from portal.store import Store, audit, connect, migrate

NAMES = ["privacy", "terms", *(f"help-{role}" for role in HELP)]


@pytest.mark.parametrize("name", NAMES)
def test_every_document_is_there_in_both_languages_with_the_same_parts(name: str) -> None:
    """As many headings and points in one as in the other, and no place left unfilled."""
    shown = {language: documents.html(Site(), name, language) for language in (ENGLISH, CHINESE)}

    for mark in ("<h2>", "<li>", "<p>"):
        assert shown[ENGLISH].count(mark) == shown[CHINESE].count(mark), mark
    for text in shown.values():
        assert not re.search(r"\{\w*\}", text)


def test_a_site_puts_its_own_text_in_place_of_ours(tmp_path: Path) -> None:
    """Its file wins; a language that it has not written shows its English; what it has not written at all is ours."""
    (tmp_path / "terms.en.md").write_text("Our own rules. <script>alert(1)</script> [x](javascript:alert(1))")
    site = Site(documents=tmp_path)

    for language in (ENGLISH, CHINESE):
        shown = documents.html(site, "terms", language)
        assert "Our own rules." in shown
        assert "<script" not in shown and 'href="javascript' not in shown
    assert documents.html(site, "privacy", CHINESE) == documents.html(Site(), "privacy", CHINESE)


def test_acceptance_is_recorded_once_for_each_version(tmp_path: Path, database: Database) -> None:
    """Twice is once; a new version asks again; the audit tells each."""
    engine = connect(Settings(home=tmp_path, database=database).database_url)
    migrate(engine)
    first = Desk(Settings(), Store(engine))
    with pytest.raises(documents.NotAccepted):
        documents.require(first, "p1")
    documents.accept(first, "p1", "192.0.2.1")
    documents.accept(first, "p1", "192.0.2.1")
    documents.require(first, "p1")

    later = Desk(Settings(site=Site(terms_version="2")), first.store)
    with pytest.raises(documents.NotAccepted):
        documents.require(later, "p1")

    documents.require(Desk(Settings(), first.store), "p1")
    documents.accept(later, "p1", "")
    documents.require(
        Desk(Settings(), first.store), "p1"
    )  # a site that goes back to its old terms shuts nobody out

    with first.store.read() as db:
        lines = list(audit.chain(db))
    assert not list(faults(lines))
    assert [(line.event.who, line.event.what, line.event.subject) for line in lines] == [
        ("p1", "consent.accepted", "privacy"),
        ("p1", "consent.accepted", "terms"),
    ] * 2
    engine.dispose()
