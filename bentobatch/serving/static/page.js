// Sends the forms of the page to the apis, and shows the answers as text.
"use strict";

function body(form) {
  const parts = [...form.querySelectorAll("input[data-part]")].filter((input) => input.files.length);
  if (parts.length) {
    const data = new FormData();
    for (const input of parts) data.append(input.dataset.part, input.files[0]);
    return [data, null];
  }
  const file = form.elements.file;
  if (file && file.files.length) return [file.files[0], file.files[0].type || "application/octet-stream"];
  return [form.elements.body ? form.elements.body.value : "", form.elements.media ? form.elements.media.value : null];
}

async function send(event) {
  event.preventDefault();
  const form = event.target;
  const answer = form.querySelector(".answer");
  const [content, media] = body(form);
  const headers = media ? { "Content-Type": media } : {};
  answer.hidden = false;
  answer.textContent = "…";
  try {
    const reply = await fetch(form.dataset.route, { method: "POST", headers, body: content });
    answer.textContent = reply.status + " " + reply.statusText + "\n" + (await reply.text());
    answer.classList.toggle("bad", !reply.ok);
  } catch (error) {
    answer.textContent = String(error);
    answer.classList.add("bad");
  }
}

for (const form of document.querySelectorAll("form.try")) form.addEventListener("submit", send);
