"""The strings people read, gathered from the sources, and the catalogues that translate them (`make messages`).

`babel.toml` says where strings are looked for. A catalogue names no files, lines or dates, so that it changes only when
a string does.
"""

from __future__ import annotations

import ast
import io
import tomllib
from collections.abc import Collection, Generator, Mapping
from pathlib import Path
from typing import IO, Any

from babel.messages import Catalog
from babel.messages.extract import DEFAULT_KEYWORDS, extract_from_dir
from babel.messages.pofile import read_po, write_po

from portal.locale import CHINESE, DOMAIN

CHECKOUT = Path(__file__).resolve().parent.parent.parent
SOURCES = ("portal", "spawners")
TRANSLATED = (CHINESE,)
HEADER = "# What people read, in the language of this folder. `make messages` keeps it complete."
NOISE = (
    *("Project-Id-Version", "POT-Creation-Date", "PO-Revision-Date", "Generated-By"),
    *("Last-Translator", "Language-Team", "Report-Msgid-Bugs-To"),
)

Found = Generator[tuple[int, str, Any, list[str]], None, None]


def python(
    file: IO[bytes], keywords: Mapping[str, Any], comment_tags: Collection[str], options: Mapping[str, Any]
) -> Found:
    """Strings marked in Python source, also inside f-strings, which Babel's own reader passes over before 3.12."""
    for node in ast.walk(ast.parse(file.read())):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", "") or getattr(node.func, "attr", "")
            if name in keywords:
                yield node.lineno, name, tuple(_literal(argument) for argument in node.args), []


def _literal(node: ast.expr) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def extracted() -> Catalog:
    """Every string in the sources."""
    rules = tomllib.loads((CHECKOUT / "babel.toml").read_text())["mappings"]
    methods = [(rule["pattern"], rule["method"]) for rule in rules]
    found = Catalog(domain=DOMAIN, fuzzy=False)
    for source in SOURCES:
        for _, _, message, _, context in extract_from_dir(
            CHECKOUT / source, methods, keywords=DEFAULT_KEYWORDS
        ):
            found.add(message, context=context)
    return found


def path(language: str) -> Path:
    return Path(__file__).parent / language / "LC_MESSAGES" / f"{DOMAIN}.po"


def read(language: str) -> Catalog:
    """The catalogue as it is; one without a string where there is no file yet."""
    if not path(language).exists():
        return Catalog(locale=language, domain=DOMAIN, fuzzy=False)
    with path(language).open("rb") as file:
        return read_po(file, locale=language, domain=DOMAIN, abort_invalid=True)


def updated(old: Catalog, found: Catalog) -> Catalog:
    """Every string found, with the translation it has. Translations of strings no longer used are kept aside."""
    new = Catalog(locale=old.locale, domain=DOMAIN, header_comment=HEADER, fuzzy=False)
    for message in found:
        if message.id:
            known = old.get(message.id) or old.obsolete.get(_key(message.id))
            new.add(message.id, known.string if known else None)
    for message in [*old, *old.obsolete.values()]:
        if message.id and message.string and message.id not in new:
            new.obsolete[_key(message.id)] = message
    return new


def _key(id: Any) -> str:
    return str(id[0] if isinstance(id, list | tuple) else id)


def written(catalogue: Catalog) -> bytes:
    """The text of a catalogue; the same for the same strings, whenever and wherever it is made."""
    file = io.BytesIO()
    write_po(file, catalogue, width=110, sort_output=True, no_location=True)
    lines = file.getvalue().decode().splitlines(keepends=True)
    noise = tuple(f'"{name}:' for name in NOISE)
    return "".join(line for line in lines if not line.startswith(noise)).encode()


def main() -> None:
    """Bring every catalogue up to date, and say what is left to translate."""
    found = extracted()
    for language in TRANSLATED:
        new = updated(read(language), found)
        path(language).parent.mkdir(parents=True, exist_ok=True)
        path(language).write_bytes(written(new))
        missing = [_key(message.id) for message in new if message.id and not message.string]
        print(f"{path(language).relative_to(CHECKOUT)}: {len(new)} strings, {len(missing)} to translate")
        for sentence in missing:
            print(f"  {sentence}")


if __name__ == "__main__":
    main()
