// What the pages do beyond links and forms. All of them can be read without it.
"use strict";

const root = document.documentElement;
root.classList.add("scripted");
try {
  const chosen = localStorage.getItem("theme");
  if (chosen === "light" || chosen === "dark") root.dataset.theme = chosen;
} catch {
  // a browser that keeps nothing shows the system's choice
}

function say(text, isShown = false) {
  const status = document.getElementById("said");
  if (!status) return;
  status.textContent = text;
  status.className = isShown ? "said" : "visually-hidden";
}

async function copy(button) {
  const code = button.closest(".copyable")?.querySelector("code");
  if (!code) return;
  try {
    await navigator.clipboard.writeText(code.textContent);
    button.textContent = "Copied";
    say("Copied");
  } catch {
    getSelection().selectAllChildren(code); // no clipboard without HTTPS: the text is selected, to be copied by hand
    button.textContent = "Selected";
    say("Selected");
  }
  setTimeout(() => { button.textContent = "Copy"; }, 2000);
}

function changeTheme() {
  const isDark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = isDark ? "light" : "dark";
  try {
    localStorage.setItem("theme", root.dataset.theme);
  } catch {
    // as above
  }
}

document.addEventListener("click", (event) => {
  const target = event.target instanceof Element ? event.target : null;
  const button = target?.closest("button");
  if (button?.hasAttribute("data-copy")) copy(button);
  else if (button?.hasAttribute("data-theme-button")) changeTheme();
  else if (button?.hasAttribute("data-keys-button")) document.getElementById("keys")?.showModal();
});

// A list that could not be filtered says so; what asks by itself from time to time will ask again.
for (const kind of ["htmx:sendError", "htmx:responseError", "htmx:timeout"]) {
  document.addEventListener(kind, (event) => {
    if (event.target.closest?.("[hx-trigger^=every]")) return;
    say("The server did not answer as it should; what is shown is as it was before. Load the page anew.", true);
  });
}
document.addEventListener("htmx:afterSwap", () => { if (document.getElementById("said")?.className === "said") say(""); });

function rows() {
  return [...document.querySelectorAll("[data-row]")].filter((row) => row.offsetParent !== null);
}

function move(step) {
  const all = rows();
  if (!all.length) return;
  const at = all.findIndex((row) => row.contains(document.activeElement));
  const next = all[at < 0 ? (step > 0 ? 0 : all.length - 1) : Math.min(all.length - 1, Math.max(0, at + step))];
  (next.matches("a, summary") ? next : next.querySelector("a, summary"))?.focus();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (event.target instanceof Element && event.target.closest("input, textarea, select")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if (event.key === "j") move(1);
  else if (event.key === "k") move(-1);
  else if (event.key === "g") document.querySelector("a.brand")?.click();
  else if (event.key === "?") document.getElementById("keys")?.showModal();
  else if (event.key === "/") {
    const search = document.querySelector("input[type=search]");
    if (!search) return;
    search.focus();
    search.select();
    event.preventDefault();
  }
});
