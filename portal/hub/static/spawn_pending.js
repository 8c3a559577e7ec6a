// Shows how a start goes on, as the hub reports it, and opens the session once it is ready.
// Messages are shown as text only, whatever they contain.

const pending = document.getElementById("pending");
const message = document.getElementById("progress-message");
const bar = document.getElementById("progress-bar");
const log = document.getElementById("progress-log");
const events = new EventSource(pending.dataset.progress);
let last = "";

function show(text) {
  if (!text || text === last) return;
  last = text;
  message.textContent = text;
  const line = document.createElement("li");
  line.textContent = `${new Date().toLocaleTimeString(document.documentElement.lang)}  ${text}`;
  log.append(line);
}

events.onmessage = (event) => {
  const report = JSON.parse(event.data);
  if (report.progress !== undefined) bar.value = report.progress;
  if (!report.ready && !report.failed) show(report.message);
  // ready: the hub redirects to the session; failed: it says why
  if (report.ready || report.failed) {
    events.close();
    window.location.reload();
  }
};
