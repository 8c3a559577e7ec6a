// Shows the price of the choice made in the start form. Every figure comes ready from the portal; nothing is worked out
// here, and everything is shown as text.

const box = document.getElementById("start-form");
const form = box.closest("form");
const prices = JSON.parse(box.dataset.prices);
const button = document.getElementById("start");
const refusal = document.getElementById("start-refusal");

function show() {
  const choice = new FormData(form);
  const price = prices[choice.get("grant")]?.[choice.get("size")]?.[choice.get("minutes")];
  for (const name of ["list", "subsidy", "own", "leaves"]) {
    document.getElementById(`price-${name}`).textContent = price?.[name] ?? "-";
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
