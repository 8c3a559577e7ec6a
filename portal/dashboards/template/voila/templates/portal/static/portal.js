// Keeps an open dashboard honest: shows how old its figures are, says when the connection is lost, and loads the page
// again once its kernel is gone (Voila itself would show the last figures for ever).
"use strict";

const ASK_EVERY_MS = 3000;
const STALE_SECONDS = 15;
const FAILURES_SHOWN = 2;
const RELOADS_KEY = "dashboard-reloads";

const base = document.body.dataset.baseUrl.replace(/voila\/$/, "");
let clockAhead = 0; // seconds that the server's clock is ahead of this one
let failures = 0;
let reloading = false;

function kernelId() {
  const config = document.getElementById("jupyter-config-data");
  try {
    return JSON.parse(config.textContent).kernelId;
  } catch {
    return null; // still loading
  }
}

function xsrf() {
  const found = document.cookie.match(/(?:^|; )_xsrf=([^;]*)/);
  return found ? decodeURIComponent(found[1].replace(/^"|"$/g, "")) : "";
}

// Voila calls these two when it has put the page together.
window.voila_heartbeat = () => {};
window.voila_finish = () => {};

function markAges() {
  const now = Date.now() / 1000 + clockAhead;
  for (const node of document.querySelectorAll("[data-as-at]")) {
    const stale = now - Number(node.dataset.asAt) > STALE_SECONDS;
    if (node.classList.contains("stale") !== stale) node.classList.toggle("stale", stale);
    const word = stale ? ` · ${document.body.dataset.old}` : "";
    if ((node.dataset.word || "") !== word) {
      node.dataset.word = word;
      let tail = node.querySelector(".as-at-word");
      if (!tail) {
        tail = node.appendChild(document.createElement("span"));
        tail.className = "as-at-word";
      }
      tail.textContent = word;
    }
  }
}

function showOffline(offline) {
  document.body.classList.toggle("is-offline", offline);
  const notice = document.querySelector(".offline");
  if (notice) notice.hidden = !offline;
}

// Each load in a row waits longer, up to a minute, so that a page that cannot live does not hammer the server.
function reloadSoon() {
  if (reloading) return;
  reloading = true;
  const recent = JSON.parse(sessionStorage.getItem(RELOADS_KEY) || "[]").filter((at) => Date.now() - at < 300000);
  const wait = recent.length ? Math.min(60000, 2000 * 2 ** recent.length) : 0;
  setTimeout(() => {
    sessionStorage.setItem(RELOADS_KEY, JSON.stringify([...recent, Date.now()]));
    if (document.hidden) {
      document.addEventListener("visibilitychange", () => location.reload(), { once: true });
    } else {
      location.reload();
    }
  }, wait + Math.random() * 2000);
}

async function ask() {
  const id = kernelId();
  if (!id) return;
  try {
    const answer = await fetch(`${base}alive/${id}`, {
      headers: { "X-XSRFToken": xsrf() },
      cache: "no-store",
      redirect: "error",
      signal: AbortSignal.timeout(5000),
    });
    if (answer.status === 403 || answer.status === 404) return reloadSoon();
    if (!answer.ok) throw new Error(String(answer.status));
    const state = await answer.json();
    clockAhead = state.now - Date.now() / 1000;
    if (!state.alive) return reloadSoon();
    failures = 0;
  } catch {
    failures += 1;
  }
  showOffline(failures >= FAILURES_SHOWN);
}

function endWaiting() {
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
