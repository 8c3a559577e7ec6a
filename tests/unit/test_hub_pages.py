"""The hub's pages: every one that people can reach is ours, in our frame and in both languages."""

import re
from pathlib import Path

import pytest
from jupyterhub import scopes
from jupyterhub._data import DATA_FILES_PATH

from portal.hub import TEMPLATES, language, pages
from portal.locale import CHINESE, catalogue, translator

UPSTREAM = Path(DATA_FILES_PATH) / "templates"
CLOSED = {"admin.html": "/admin(/.*)?", "accept-share.html": "/accept-share"}
"""Pages of JupyterHub that nobody gets to see: template > the address that we answer with 404."""
FRAME = {"page.html"}
"""JupyterHub's own frame, around the pages above alone."""
OURS = sorted(path.name for path in TEMPLATES.glob("*.html"))


def test_every_page_of_jupyterhub_is_ours_or_closed() -> None:
    """A version that brings another page fails here until somebody has read it."""
    upstream = {path.name for path in UPSTREAM.glob("*.html")}
    assert upstream - set(OURS) == set(CLOSED) | FRAME
    closed = {str(handler[0]) for handler in pages.handlers() if handler[1].__name__ == "Closed"}
    assert closed == set(CLOSED.values())


@pytest.mark.parametrize("name", OURS)
def test_no_page_of_ours_shows_a_page_of_jupyterhub(name: str) -> None:
    """Nothing is taken from templates whose words are English alone."""
    source = (TEMPLATES / name).read_text()
    assert '"templates/' not in source
    assert name == "frame.html" or re.search(r'{% extends "(frame|error|form_base)\.html" %}', source)


def test_rights_that_a_page_asks_for_are_described_in_both_languages() -> None:
    """JupyterHub has English only; its names are looked up, and one that it gives up fails here."""
    assert set(language.SCOPES) <= set(scopes.scope_definitions)
    chinese = translator(CHINESE)
    assert all(chinese.gettext(words) != words for words in language.SCOPES.values())


def test_the_words_of_the_hubs_pages_are_in_the_catalogue() -> None:
    """What is marked in a template is found by `make messages`."""
    assert "Tokens for scripts" in catalogue.extracted()
