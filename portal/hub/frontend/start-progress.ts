// Shows how a start goes on, as the hub reports it, and opens the session once it is ready.
// Messages are shown as text only, whatever they contain.

import { part } from "../../look/page";

/** One event of the hub's progress API. progress: percent. */
interface Report {
  progress?: number;
  message?: string;
  ready?: boolean;
  failed?: boolean;
}

const pending = part("pending", HTMLElement);
const message = part("progress-message", HTMLElement);
const bar = part("progress-bar", HTMLProgressElement);
const log = part("progress-log", HTMLElement);
const events = new EventSource(pending.dataset.progress ?? "");
let last = "";

function show(text: string | undefined): void {
  if (!text || text === last) return;
  last = text;
  message.textContent = text;
  const line = document.createElement("li");
  const time = new Date().toLocaleTimeString(document.documentElement.lang, { hourCycle: "h23" });
  line.textContent = `${time}  ${text}`;
  log.append(line);
}

events.onmessage = (event: MessageEvent<string>) => {
  const report: Report = JSON.parse(event.data);
  if (report.progress !== undefined) bar.value = report.progress;
  // at 0 speaks JupyterHub itself, in English only; what our spawners say comes later
  if (report.progress && !report.ready && !report.failed) show(report.message);
  // ready: the hub redirects to the session; failed: it says why
  if (report.ready || report.failed) {
    events.close();
    window.location.reload();
  }
};
