"""docs/settings.md: every setting with its default and help, from `portal.settings` itself (`make docs`)."""

from __future__ import annotations

import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from portal.settings import Settings

PAGE = Path(__file__).resolve().parent.parent / "docs" / "settings.md"
HEAD = """\
# Settings

One TOML file, named by the variable `PORTAL_SETTINGS`. Write `section.key` as a key of a table: `url` under `[web]`. The
variable `PORTAL_<SECTION>__<KEY>`, such as `PORTAL_WEB__URL`, wins over the file. An unknown key is refused.
[operator.md](operator.md) tells which ten a centre sets. This page is written by `make docs`.

| setting | default | meaning |
|---|---|---|
"""


def names(model: type[BaseModel] = Settings, prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every setting with its dotted name."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from names(kind, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field


def page() -> str:
    rows = [f"| `{name}` | {_default(field)} | {_help(field)} |" for name, field in names()]
    return HEAD + "\n".join(rows) + "\n"


def _default(field: FieldInfo) -> str:
    value = field.default
    if value in ("", None, ()):
        return "empty"
    if isinstance(value, tuple) and isinstance(value[0], BaseModel):
        return ", ".join(f"`{getattr(item, 'id', '') or getattr(item, 'name', '')}`" for item in value)
    if isinstance(value, tuple):
        return ", ".join(f"`{item}`" for item in value)
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _help(field: FieldInfo) -> str:
    """The description, and what is allowed where only some words are."""
    text = (field.description or "").replace("|", "\\|")
    choices = _choices(field.annotation)
    told = all(f"{choice}" in text for choice in choices)
    return text if told else f"{text} One of: {', '.join(choices)}."


def _choices(kind: Any) -> list[str]:
    if get_origin(kind) is Literal:
        return [str(choice) for choice in get_args(kind)]
    if get_origin(kind) is types.UnionType:
        return [choice for part in get_args(kind) for choice in _choices(part)]
    return []


def main() -> None:
    PAGE.write_text(page())


if __name__ == "__main__":
    main()
