"""The look: tokens and components as style sheets, and the frame, one copy for every part that draws a page."""

from pathlib import Path

FOLDER = Path(__file__).parent / "static"
"""Served by the hub at `/hub/look/` and by the portal at `/services/portal/static/look/`."""

TEMPLATES = Path(__file__).parent / "templates"
"""Jinja templates of the parts that several frames share."""
