// Keeps an open dashboard honest: shows how old its figures are, says when the connection is lost, and loads the page
// again once its kernel is gone (Voila itself would show the last figures for ever).

import "../../look/printed";

declare global {
  interface Window {
    /** Voila calls these two when it has put the page together. */
    voila_heartbeat: () => void;
    voila_finish: () => void;
  }
}

/** The answer of `alive/<kernel>`. now: the server's clock, in seconds since 1970. */
interface State {
  alive: boolean;
  now: number;
}

const ASK_EVERY_MS = 3000;
const ANSWER_MS = 5000;
const STALE_SECONDS = 15;
const FAILURES_SHOWN = 2;
const RELOADS_KEY = "dashboard-reloads";
const RELOADS_REMEMBERED_MS = 300_000;
const LONGEST_WAIT_MS = 60_000;

const base = (document.body.dataset.baseUrl ?? "").replace(/voila\/$/, "");
let clockAhead = 0; // seconds that the server's clock is ahead of this one
let failures = 0;
let reloading = false;

window.voila_heartbeat = () => {};
window.voila_finish = () => {};

function kernelId(): string | null {
  const config = document.getElementById("jupyter-config-data");
  try {
    return JSON.parse(config?.textContent ?? "").kernelId;
  } catch {
    return null; // still loading
  }
}

function xsrf(): string {
  const found = document.cookie.match(/(?:^|; )_xsrf=([^;]*)/);
  return decodeURIComponent((found?.[1] ?? "").replace(/^"|"$/g, ""));
}

function markAges(): void {
  const now = Date.now() / 1000 + clockAhead;
  for (const node of document.querySelectorAll<HTMLElement>("[data-as-at]")) {
    const stale = now - Number(node.dataset.asAt) > STALE_SECONDS;
    if (node.classList.contains("stale") !== stale) node.classList.toggle("stale", stale);
    const word = stale ? ` · ${document.body.dataset.old}` : "";
    if ((node.dataset.word || "") !== word) {
      node.dataset.word = word;
      wordOfAge(node).textContent = word;
    }
  }
}

function wordOfAge(node: HTMLElement): Element {
  const there = node.querySelector(".as-at-word");
  if (there) return there;
  const word = node.appendChild(document.createElement("span"));
  word.className = "as-at-word";
  return word;
}

function showOffline(offline: boolean): void {
  document.body.classList.toggle("is-offline", offline);
  const notice = document.querySelector<HTMLElement>(".offline");
  if (notice) notice.hidden = !offline;
}

/** When this page was loaded again of late, in milliseconds since 1970. */
function recentReloads(): number[] {
  const times: number[] = JSON.parse(sessionStorage.getItem(RELOADS_KEY) || "[]");
  return times.filter((at) => Date.now() - at < RELOADS_REMEMBERED_MS);
}

// Each load in a row waits longer, up to a minute, so that a page that cannot live does not hammer the server.
function reloadSoon(): void {
  if (reloading) return;
  reloading = true;
  const recent = recentReloads();
  const wait = recent.length ? Math.min(LONGEST_WAIT_MS, 2000 * 2 ** recent.length) : 0;
  setTimeout(() => {
    sessionStorage.setItem(RELOADS_KEY, JSON.stringify([...recent, Date.now()]));
    if (document.hidden) {
      document.addEventListener("visibilitychange", () => location.reload(), { once: true });
    } else {
      location.reload();
    }
  }, wait + Math.random() * 2000);
}

async function ask(): Promise<void> {
  const id = kernelId();
  if (!id) return;
  try {
    const answer = await fetch(`${base}alive/${id}`, {
      headers: { "X-XSRFToken": xsrf() },
      cache: "no-store",
      redirect: "error",
      signal: AbortSignal.timeout(ANSWER_MS),
    });
    if (answer.status === 403 || answer.status === 404) return reloadSoon();
    if (!answer.ok) throw new Error(String(answer.status));
    const state: State = await answer.json();
    clockAhead = state.now - Date.now() / 1000;
    if (!state.alive) return reloadSoon();
    failures = 0;
  } catch {
    failures += 1;
  }
  showOffline(failures >= FAILURES_SHOWN);
}

function endWaiting(): void {
  const shown = document.querySelector("#rendered_cells .board");
  if (!shown) return;
  document.getElementById("waiting")?.remove();
  watcher.disconnect();
}

const watcher = new MutationObserver(endWaiting);
watcher.observe(document.body, { childList: true, subtree: true });
endWaiting();
setInterval(markAges, 1000);
setInterval(ask, ASK_EVERY_MS);
addEventListener("pageshow", (event) => event.persisted && ask());

