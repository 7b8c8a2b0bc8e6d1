// Keeps the figures of a driver's session fresh. Pages work without it: they reload themselves.
"use strict";

const session = document.querySelector("[data-session]");

function put(name, text) {
  const element = session.querySelector(`[data-live="${name}"]`);
  if (element && element.textContent !== text) element.textContent = text;
}

async function refresh() {
  try {
    const response = await fetch(`/api/session/${session.dataset.session}`);
    const now = await response.json();
    if (now.over) {
      location.replace(now.receipt);
      return;
    }
    for (const name of ["energy", "cost", "time", "power", "status"]) put(name, now[name]);
    session.querySelector('[data-live="stop"]').disabled = !now.can_stop;
  } catch (error) {
    put("status", "The portal does not answer; trying again.");
  }
  setTimeout(refresh, 1000);
}

if (session) setTimeout(refresh, 1000);

// A form is sent once: a second press of a slow button must not pay twice.
for (const form of document.querySelectorAll("form")) {
  form.addEventListener("submit", (event) => {
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = "yes";
  });
}
window.addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form")) delete form.dataset.sent;
});

// The owner's lists stay fresh; one in which somebody is about to press a switch is left alone.
async function renew() {
  try {
    const response = await fetch(location.href, { cache: "no-store" });
    const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
    for (const part of document.querySelectorAll("[data-fresh]")) {
      const newer = fresh.querySelector(`[data-fresh="${part.dataset.fresh}"]`);
      if (newer && part.innerHTML !== newer.innerHTML && !part.contains(document.activeElement)) part.replaceWith(document.importNode(newer, true));
    }
  } catch (error) {
    // The portal is away: what is shown stays until it answers again.
  }
  setTimeout(renew, 2000);
}

if (document.querySelector("[data-fresh]")) setTimeout(renew, 2000);

// In a frame of the demo page: say which page this is. The line about the test rig stands around the frame already.
if (parent !== window) {
  document.documentElement.classList.add("framed");
  parent.postMessage({ page: location.pathname }, "*");
}
