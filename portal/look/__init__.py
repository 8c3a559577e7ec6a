"""The look: tokens and components as style sheets, and the frame, one copy for every part that draws a page."""

import hashlib
from pathlib import Path

FOLDER = Path(__file__).parent / "static"
"""Served by the hub at `/hub/look/` and by the portal at `/services/portal/static/look/`."""

TEMPLATES = Path(__file__).parent / "templates"
"""Jinja templates of the parts that several frames share."""


def version(*paths: Path) -> str:
    """A name for what these files hold now, so that browsers may keep them.

    A file that is missing counts as empty: the browser code of a checkout that nobody built, whose pages work without.
    """
    content = b"".join(path.read_bytes() for path in paths if path.exists())
    return hashlib.sha256(content).hexdigest()[:8]
