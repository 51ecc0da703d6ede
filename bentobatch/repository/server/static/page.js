// Puts a button for copying beside each command; without JavaScript the page does without them.
"use strict";

function selectText(element) {
  const range = document.createRange();
  range.selectNodeContents(element);
  const selection = window.getSelection();
  selection.removeAllRanges();
  selection.addRange(range);
}

async function copy(element, button) {
  const code = element.querySelector("code");
  let done = true;
  try {
    await navigator.clipboard.writeText(code.textContent);
  } catch { // no clipboard on a plain http page: the text is selected, and the old command tried
    selectText(code);
    done = document.execCommand("copy");
  }
  button.textContent = done ? "Copied" : "Press Ctrl-C";
  window.setTimeout(() => { button.textContent = "Copy"; }, 1600);
}

for (const element of document.querySelectorAll("[data-copy]")) {
  const box = document.createElement("div");
  box.className = "copy-box";
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.textContent = "Copy";
  button.setAttribute("aria-live", "polite");
  button.addEventListener("click", () => copy(element, button));
  element.replaceWith(box);
  box.append(element, button);
}
