// Shows the price of the choice made in the start form. Every figure comes ready from the portal; nothing is worked out
// here, and everything is shown as text.

import { part } from "../../look/page";

/** The words of the price box; `refusal` is empty where the choice can be started (spawners/form.py). */
interface Price {
  list: string;
  subsidy: string;
  own: string;
  leaves: string;
  refusal: string;
}

/** Grant > size > minutes > price. */
type Prices = Record<string, Record<string, Record<string, Price>>>;

const WORDS = ["list", "subsidy", "own", "leaves"] as const;

const box = part("start-form", HTMLElement);
const form = enclosingForm(box);
const prices: Prices = JSON.parse(box.dataset.prices ?? "{}");
const button = part("start", HTMLButtonElement);
const refusal = part("start-refusal", HTMLElement);

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
    part(`price-${word}`, HTMLElement).textContent = price?.[word] ?? "-";
  }
  refusal.textContent = price?.refusal ?? "";
  button.disabled = !price || Boolean(price.refusal);
}

form.addEventListener("change", show);
form.addEventListener("submit", () => {
  button.disabled = true;
});
// the browser may restore a choice, or the whole page, when the person comes back
window.addEventListener("pageshow", show);
show();
