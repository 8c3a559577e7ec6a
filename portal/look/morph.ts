// Lays a new version of an element over the old one and changes only what differs.

/** Make `old` look like `fresh`. Elements of the same kind in the same place stay the same elements. */
export function morph(old: Element, fresh: Element): void {
  attributes(old, fresh);
  const wanted = [...fresh.childNodes];
  wanted.forEach((child, index) => {
    const there = old.childNodes[index];
    if (!there) old.append(child);
    else if (there instanceof Element && child instanceof Element && alike(there, child)) morph(there, child);
    else if (there instanceof Text && child instanceof Text) {
      if (there.data !== child.data) there.data = child.data;
    } else there.replaceWith(child);
  });
  while (old.childNodes.length > wanted.length) old.lastChild?.remove();
}

/** Whether one may become the other: a button must not turn into another thing's button under the pointer. */
function alike(one: Element, other: Element): boolean {
  const mark = (element: Element) => element.id || element.getAttribute("data-news") || "";
  return one.tagName === other.tagName && mark(one) === mark(other);
}

function attributes(old: Element, fresh: Element): void {
  for (const name of old.getAttributeNames()) {
    if (!fresh.hasAttribute(name) && name !== "data-etag") old.removeAttribute(name);
  }
  for (const name of fresh.getAttributeNames()) {
    const value = fresh.getAttribute(name) ?? "";
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
}
