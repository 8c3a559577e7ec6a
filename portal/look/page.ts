// What every script needs of the page it is loaded by.

/** The element of that id. Throws where the page has none of that kind: page and script do not belong together. */
export function part<Kind extends Element>(id: string, kind: new () => Kind): Kind {
  const found = document.getElementById(id);
  if (found instanceof kind) return found;
  throw new Error(`this page has no ${kind.name} #${id}`);
}
