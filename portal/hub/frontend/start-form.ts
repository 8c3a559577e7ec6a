// Shows the price of the choice made in the start form. Every figure comes ready from the portal; nothing is worked out
// here, and everything is shown as text. Without this script the form works too: see spawners/form.html.

import { part } from "../../look/page";

/** The words of the price box; `refusal` is empty where the choice can be started (spawners/form.py). */
interface Price {
  share: string;
  list: string;
  subsidy: string;
  own: string;
  leaves: string;
  most: string;
  refusal: string;
}

/** Grant > size > minutes > price. */
type Prices = Record<string, Record<string, Record<string, Price>>>;

/** Grant > size > what an hour costs. */
type Hourly = Record<string, Record<string, string>>;

const WORDS = ["list", "subsidy", "own", "leaves"] as const;

const box = part("start-form", HTMLElement);
const form = enclosingForm(box);
const prices: Prices = JSON.parse(box.dataset.prices ?? "{}");
const hourly: Hourly = JSON.parse(box.dataset.hourly ?? "{}");
const button = part("start", HTMLButtonElement);
const refusal = part("start-refusal", HTMLElement);
const most = part("price-most", HTMLInputElement);

function enclosingForm(inside: Element): HTMLFormElement {
  const found = inside.closest("form");
  if (!found) throw new Error("the choices stand in no form");
  return found;
}

function show(): void {
  const choice = new FormData(form);
  const chosen = (name: string): string => String(choice.get(name));
  const price = prices[chosen("grant")]?.[chosen("size")]?.[chosen("minutes")];
  for (const word of WORDS) {
    write(part(`price-${word}`, HTMLElement), price?.[word] ?? "-");
  }
  write(part("price-share", HTMLElement), price?.share ?? "");
  write(refusal, price?.refusal ?? "");
  most.value = price?.most ?? "0";
  button.disabled = !price || Boolean(price.refusal);
  for (const note of box.querySelectorAll<HTMLElement>("[data-hourly-of]")) {
    write(note, hourly[chosen("grant")]?.[note.dataset.hourlyOf ?? ""] ?? "");
  }
}

/** Only what has changed, so that only that is read out. */
function write(where: HTMLElement, text: string): void {
  if (where.textContent !== text) where.textContent = text;
}

form.addEventListener("change", show);
form.addEventListener("submit", () => {
  button.disabled = true;
});
// the browser may restore a choice, or the whole page, when the person comes back
window.addEventListener("pageshow", show);
show();
