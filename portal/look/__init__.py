"""The look: tokens and components as style sheets, one copy for every part that draws a page."""

from pathlib import Path

FOLDER = Path(__file__).parent / "static"
"""Served by the hub at `/hub/look/` and by the portal at `/services/portal/static/look/`."""
