// The browser code of the portal's pages: htmx asks for the parts that change by themselves, and what came is laid over
// what is there, so that focus, selection and scroll position stay. A change of state is told to a screen reader, once.
import htmx from "htmx.org";
import { morph } from "../../look/morph";
import "../../look/printed";

/** What each thing with `data-news` says of itself. */
function news(root: Element): Map<string, string> {
  const told = [...root.querySelectorAll<HTMLElement>("[data-news]")];
  return new Map(told.map((one) => [one.dataset.news ?? "", one.dataset.newsText ?? ""]));
}

htmx.defineExtension("calm", {
  isInlineSwap: (style: string) => style === "calm",
  handleSwap: (style: string, target: Node, fragment: Node) => {
    const fresh = fragment.firstChild && [...fragment.childNodes].find((node) => node instanceof Element);
    if (style !== "calm" || !(target instanceof Element) || !(fresh instanceof Element)) return false;
    const before = news(target);
    morph(target, fresh);
    const changed = [...news(target)].filter(([key, text]) => before.has(key) && before.get(key) !== text);
    const place = document.getElementById("changes");
    if (place && changed.length) place.textContent = changed.map(([, text]) => text).join(". ");
    return true;
  },
});

// The server answers "nothing new" to whoever says what he has.
document.addEventListener("htmx:configRequest", (event) => {
  const { elt, headers } = (event as CustomEvent<{ elt: HTMLElement; headers: Record<string, string> }>).detail;
  if (elt.dataset.etag) headers["If-None-Match"] = elt.dataset.etag;
});
document.addEventListener("htmx:afterRequest", (event) => {
  const { elt, xhr } = (event as CustomEvent<{ elt: HTMLElement; xhr: XMLHttpRequest }>).detail;
  const mark = xhr.getResponseHeader("ETag");
  if (mark && document.contains(elt)) elt.dataset.etag = mark;
});
