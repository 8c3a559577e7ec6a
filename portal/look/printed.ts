// The foot of a print names when it was printed, not when the page was loaded: one may stay open for days.

addEventListener("beforeprint", () => {
  const now = new Date();
  for (const place of document.querySelectorAll<HTMLElement>("[data-printed]")) {
    const time = new Intl.DateTimeFormat(document.documentElement.lang, {
      dateStyle: "medium",
      timeStyle: "short",
      hourCycle: "h23",
      timeZone: place.dataset.printed,
    });
    place.textContent = time.format(now);
  }
});

export {};
