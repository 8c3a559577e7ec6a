// Shows how a start goes on, as the hub reports it, and opens the session once it is ready.
// Messages are shown as text only, whatever they contain.

import { part } from "../../look/page";

/** One event of the hub's progress API; the words are those of spawners/situation.py. progress: percent. */
interface Report {
  progress?: number;
  state?: string;
  title?: string;
  heading?: string;
  message?: string;
  cost?: string;
  ready?: boolean;
  failed?: boolean;
}

const pending = part("pending", HTMLElement);
const bar = part("progress-bar", HTMLProgressElement);
const log = part("progress-log", HTMLElement);
const message = part("progress-message", HTMLElement);
const places = {
  title: part("progress-word", HTMLElement),
  heading: part("progress-heading", HTMLElement),
  message,
  cost: part("progress-cost", HTMLElement),
};
const events = new EventSource(pending.dataset.progress ?? "");
let last = "";

function show(report: Report): void {
  for (const [name, place] of Object.entries(places)) {
    const words = report[name as keyof typeof places];
    // only what has changed, so that only that is read out
    if (words !== undefined && place.textContent !== words) place.textContent = words;
  }
  if (report.title) document.title = `${report.title} - ${pending.dataset.site}`;
  if (report.message) note(report.message);
}

function note(text: string): void {
  if (text === last) return;
  last = text;
  const line = document.createElement("li");
  const time = new Date().toLocaleTimeString(document.documentElement.lang, { hourCycle: "h23" });
  line.textContent = `${time}  ${text}`;
  log.append(line);
}

// cancelling ends the wait; that must not take the person elsewhere
pending.querySelector("form")?.addEventListener("submit", () => events.close());
note(message.textContent ?? "");
events.onmessage = (event: MessageEvent<string>) => {
  const report: Report = JSON.parse(event.data);
  if (report.progress) bar.value = report.progress;
  bar.hidden = report.state === "waiting";
  // at 0 speaks JupyterHub itself, in English only; what our spawners say comes later
  if (report.progress && !report.ready && !report.failed) show(report);
  // ready: the hub redirects to the session; failed: it says why
  if (report.ready || report.failed) {
    events.close();
    window.location.reload();
  }
};
