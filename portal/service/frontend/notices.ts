// Tells of what is new on the person's screen: only where the person asked for it with a click, only while a page of the
// portal is open, and once in a browser however many pages are open. One page asks the portal for all of them.

const SECONDS = 15;
const HERE = "aisc-notices-here"; // "on" where the person asked for notices in this browser
const LAST = "aisc-notices-last"; // who reads, and number of the newest notice that this browser knows of
const LOCK = "aisc-notices";

interface News {
  last: number;
  lang: string;
  notices: { number: number; title: string; body: string; link: string }[];
}

type State = "ask" | "on" | "denied";

const own = document.currentScript instanceof HTMLScriptElement ? document.currentScript.dataset : {};
const { notices: news = "", person = "" } = own;

function state(): State {
  if (Notification.permission === "denied") return "denied";
  return Notification.permission === "granted" && localStorage.getItem(HERE) === "on" ? "on" : "ask";
}

/** Show the part of the page that is true in this browser. */
function show(): void {
  const here = document.getElementById("notices-here");
  if (!here) return;
  here.hidden = false;
  for (const part of here.querySelectorAll<HTMLElement>("[data-when]")) part.hidden = part.dataset.when !== state();
}

async function choose(what: string | undefined): Promise<void> {
  if (what === "off") localStorage.setItem(HERE, "off");
  if (what === "ask" && (await Notification.requestPermission()) === "granted") {
    localStorage.removeItem(LAST); // what happened before is on the page, and not told again
    localStorage.setItem(HERE, "on");
  }
  show();
}

/** Number of the newest notice that this person was told of in this browser; -1: none yet. */
function last(): number {
  const [who, number] = (localStorage.getItem(LAST) ?? "").split(":");
  return who === person ? Number(number) : -1;
}

async function ask(): Promise<void> {
  // The header has a sign-in that ran out answered with a refusal, not with a way to sign in.
  const answer = await fetch(`${news}?after=${last()}`, { headers: { "HX-Request": "true" }, redirect: "error" });
  if (!answer.ok) return;
  const told = (await answer.json()) as News;
  localStorage.setItem(LAST, `${person}:${told.last}`);
  for (const { number, title, body, link } of told.notices) {
    const notice = new Notification(title, { body, lang: told.lang, tag: `${LOCK}-${number}` });
    notice.onclick = () => {
      window.focus();
      location.assign(new URL(link, location.origin));
    };
  }
}

async function tell(): Promise<void> {
  for (;;) {
    if (state() === "on") await ask().catch(() => undefined); // the portal is away for a moment: ask again later
    await new Promise((after) => setTimeout(after, SECONDS * 1000));
  }
}

if (news && "Notification" in window && "locks" in navigator) {
  show();
  addEventListener("storage", show);
  document.addEventListener("click", ({ target }) => {
    const button = target instanceof Element ? target.closest<HTMLElement>("#notices-here [data-do]") : null;
    if (button) void choose(button.dataset.do);
  });
  void navigator.locks.request(LOCK, tell); // held as long as this page is open; then the next page asks
}
