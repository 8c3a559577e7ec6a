// The foot of a print names when it was printed, not when the page was loaded: one may stay open for days.

addEventListener("beforeprint", () => {
  const now = new Date();
  const time = new Intl.DateTimeFormat(document.documentElement.lang, { dateStyle: "medium", timeStyle: "short" });
  for (const place of document.querySelectorAll("[data-printed]")) place.textContent = time.format(now);
});

export {};
