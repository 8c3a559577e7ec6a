// Puts the font of the Chinese text where every part serves it: `static/fonts`, one file for each range of characters,
// and a style sheet from which a browser learns which files a page needs. Latin letters are a family of their own, for
// systems that bring no good one.
// Run by `npm run build`, after the packages are installed.

import { createHash } from "node:crypto";
import { copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

const CHINESE = "Noto Sans HK Shipped";
const LATIN = "Noto Sans HK Shipped Latin";
const NAME = "noto-sans-hk";
const target = join(import.meta.dirname, "static", "fonts");
const source = dirname(createRequire(import.meta.url).resolve(`@fontsource-variable/${NAME}/package.json`));
const ranges: Record<string, string> = JSON.parse(readFileSync(join(source, "unicode.json"), "utf8"));

/** The part of a range where Chinese begins: its files hold Latin letters and signs too, in another shape than ours. */
function chinese(range: string): string {
  const first = (part: string): number => Number.parseInt(part.slice(2), 16);
  return range.split(",").filter((part) => first(part) >= 0x2e80).join(",");
}

/** The `@font-face` of one file. Its name holds a digest of what is in it, so browsers keep it for good. */
function face(family: string, slice: string, range: string): string {
  const file = join(source, "files", `${NAME}-${slice}-wght-normal.woff2`);
  const digest = createHash("sha256").update(readFileSync(file)).digest("hex").slice(0, 8);
  const name = `${NAME}-${slice}-${digest}.woff2`;
  copyFileSync(file, join(target, name));
  return (
    `@font-face{font-family:"${family}";font-style:normal;font-weight:100 900;font-display:swap;` +
    `src:url("${name}") format("woff2");unicode-range:${range.toLowerCase()}}\n`
  );
}

rmSync(target, { recursive: true, force: true });
mkdirSync(target, { recursive: true });
const faces = Object.entries(ranges).flatMap(([key, range]) => {
  const slice = /^\[(\d+)\]$/.exec(key)?.[1];
  if (slice && chinese(range)) return [face(CHINESE, slice, chinese(range))];
  return key.startsWith("latin") ? [face(LATIN, key, range)] : [];
});
if (faces.length < 50) throw new Error(`${source} has only ${faces.length} files of characters`);
copyFileSync(join(source, "LICENSE"), join(target, "LICENSE.txt"));
writeFileSync(join(target, "fonts.css"), faces.join(""));
