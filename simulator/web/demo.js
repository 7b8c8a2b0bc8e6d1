// The demo page: shows what the server sees, and hands over what a person clicks. It decides nothing.
"use strict";

const HINTS = {
  "plug-in": "Plug the car in: the button stands under the charger.",
  scan: "Scan the code: click the charger's display. The phone opens what the code says.",
  pay: "On the phone: look at the price, choose how to pay, and press “Pay and start”.",
  watch: "The contactor closes and the car begins to draw power. Watch energy, cost and time on the display and on the phone.",
  stop: "Press “Stop charging” on the phone whenever you like (with a card: swipe it again).",
  unplug: "The display shows what it came to, the phone shows the receipt. Unplug the car.",
  see: "The portal's owner sees the payment: “Show the payments” is further down, with gross, VAT, commission and net.",
};
const COMPLETE = "That was the whole story. Plug in again, or try what happens when something goes wrong: the technician's part is at the end.";
const PILOT = {
  A: "no car", B: "connected", C: "wants energy", D: "with ventilation", E: "shorted", F: "charger out of order",
};
const LISTS = ["/payments", "/sessions"];

const $ = (id) => document.getElementById(id);
let setup = null;
let state = null;
let shownPicture = "";

// --- to the server

async function post(path, body = {}) {
  try {
    const response = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
    const answer = response.headers.get("Content-Type")?.startsWith("application/json") ? await response.json() : {};
    refuse(response.ok ? "" : answer.error ?? `The demo answered ${response.status}.`);
    return response.ok ? answer : null;
  } catch {
    refuse("The demo does not answer. Has it been ended?");
    return null;
  }
}

const order = (method, params = {}) => post(`/api/order/${method}`, params);

function refuse(sentence) {
  $("refusal").textContent = sentence;
  $("refusal").hidden = !sentence;
}

// --- showing

function text(id, value) {
  const element = $(id);
  if (element.textContent !== value) element.textContent = value;
}

function lamp(id, isGood, label) {
  const chip = $(id);
  chip.classList.toggle("good", isGood === true);
  chip.classList.toggle("bad", isGood === false);
  text(id, label);
}

function show(now) {
  document.body.classList.toggle("away", now.is_away);
  if (now.is_away) {
    lamp("chip-charger", false, "The charger restarts");
    return;
  }
  state = now;
  showPicture(now);
  showGuide(now);
  showCar(now);
  showTechnician(now);
  const isOnline = now.csms.state === "accepted";
  lamp("chip-charger", now.evse.faults.length === 0, `Charger ${setup.station_id}: ${now.evse.screen}`);
  lamp("chip-portal", isOnline, isOnline ? `Portal: OCPP ${setup.ocpp}` : `Portal: ${now.csms.state}`);
  const meter = now.why.chain.find((condition) => condition.name === "meter");
  lamp("chip-meter", meter?.holds, `Meter: Modbus ${setup.meter.toUpperCase()}`);
}

function showPicture(now) {
  if (!now.picture || now.picture === shownPicture) return;
  shownPicture = now.picture;
  $("display").src = `/display.png?${now.picture}`;
}

function showGuide(now) {
  for (const item of $("steps").children) {
    const step = item.dataset.step;
    const is = now.steps[step] ? "done" : step === now.next_step ? "current" : "open";
    if (item.dataset.state !== is) item.dataset.state = is;
    if (is === "current") item.setAttribute("aria-current", "step");
    else item.removeAttribute("aria-current");
  }
  text("hint", now.next_step ? HINTS[now.next_step] : COMPLETE);
  for (const goal of document.querySelectorAll("[data-goal]")) {
    goal.classList.toggle("is-goal", goal.dataset.goal === now.next_step);
  }
}

function showCar(now) {
  const { vehicle, meter, pilot, contactor } = now.world;
  const watts = meter.power_w.reduce((sum, one) => sum + one, 0);
  const car = document.querySelector(".car");
  car.classList.toggle("plugged", vehicle !== null);
  car.classList.toggle("flowing", watts > 0);
  text("car-says", vehicle === null ? "parked beside the charger" : carSays(vehicle, watts));
  $("battery-level").style.width = vehicle ? `${vehicle.soc}%` : "0";
  text("battery-text", vehicle ? `${vehicle.soc.toFixed(2)} % of ${vehicle.capacity_kwh} kWh` : "no car plugged in");
  $("battery").setAttribute("aria-valuenow", vehicle ? Math.round(vehicle.soc) : 0);
  text("power", (watts / 1000).toFixed(1));
  text("current", Math.max(...meter.current_a).toFixed(1));
  text("offered", pilot.offered_a ? `of ${pilot.offered_a.toFixed(0)} A offered` : "nothing is offered");
  text("pilot", pilot.state);
  text("pilot-says", PILOT[pilot.state] ?? "");
  text("contactor", contactor.is_closed ? "closed" : "open");
  $("contactor").classList.toggle("on", contactor.is_closed);
  text("register", (meter.energy_uwh / 1e6).toFixed(0));
  $("plug-in").disabled = vehicle !== null;
  $("model").disabled = vehicle !== null;
  $("unplug").disabled = vehicle === null;
  $("pause").disabled = vehicle === null || !vehicle.is_ready;
  $("resume").disabled = vehicle === null || vehicle.is_ready;
  $("scan").classList.toggle("has-code", now.evse.qr !== null);
}

function carSays(vehicle, watts) {
  if (vehicle.is_full) return "full";
  if (!vehicle.is_ready) return "plugged in, paused by the car";
  return watts > 0 ? "charging" : "plugged in";
}

function showTechnician(now) {
  const blocker = now.why.blocker;
  const why = $("why");
  const sentence = blocker ? `${blocker.name}: ${blocker.text}${blocker.since_s === null ? "" : `, for ${blocker.since_s} s`}` : "Nothing keeps it from charging.";
  const cure = blocker?.cure ? `What to do: ${blocker.cure}` : "";
  why.replaceChildren(sentence);
  if (cure) why.append(make("small", cure));
  $("chain").replaceChildren(
    ...now.why.chain.map((condition) => {
      const item = make("li", make("span", condition.name), make("span", condition.text));
      item.className = condition.holds ? "" : condition.name === blocker?.name ? "blocks" : "open";
      return item;
    }),
  );
  showFaults(now.faults);
  showEvents(now.events);
  const waiting = now.storage.queued;
  const link = now.network === "up" ? `The link is up; the charger is ${now.csms.state}.` : `The link is down (${now.network}); the charger is ${now.csms.state}.`;
  text("network-says", `${link} ${waiting === 0 ? "No message waits." : waiting === 1 ? "One message waits." : `${waiting} messages wait.`}`);
  $("network-up").disabled = now.network === "up";
}

function showFaults(faults) {
  const list = $("faults");
  if (list.dataset.shown === faults.join()) return;
  list.dataset.shown = faults.join();
  list.replaceChildren(
    ...faults.map((kind) => {
      const button = make("button", `clear ${kind}`);
      button.type = "button";
      button.addEventListener("click", () => order("fault.clear", { kind }));
      return make("li", button);
    }),
  );
}

function showEvents(events) {
  const list = $("events");
  const newest = JSON.stringify(events);
  if (list.dataset.shown === newest) return;
  list.dataset.shown = newest;
  list.replaceChildren(
    ...events.map((event) => {
      const item = make("li", make("time", event.at ? new Date(event.at).toLocaleTimeString([], { hour12: false }) : ""), make("span", `${event.name} ${event.detail}`));
      item.className = event.is_warning ? "warning" : "";
      return item;
    }).reverse(),
  );
}

function make(tag, ...children) {
  const element = document.createElement(tag);
  element.append(...children);
  return element;
}

// --- the phone and the portal

async function scan() {
  const found = await post("/api/scan");
  if (!found) return;
  $("camera").hidden = true;
  $("pay-frame").hidden = false;
  $("pay-frame").src = found.url;
  $("phone-own").href = found.url;
  $("phone-own").hidden = false;
  text("address", found.url);
  $("pay-frame").closest(".phone").scrollIntoView({ block: "nearest", behavior: "smooth" });
}

function openPortal(path) {
  $("portal-frame").src = setup.portal_url + path;
}

// The portal's pages say where they are: another origin cannot be looked into.
window.addEventListener("message", (event) => {
  if (!setup || event.origin !== setup.portal_url || typeof event.data?.page !== "string") return;
  const page = event.data.page;
  if (event.source === $("pay-frame").contentWindow) {
    text("address", setup.portal_url + page);
    $("phone-own").href = setup.portal_url + page;
  }
  if (event.source === $("portal-frame").contentWindow) {
    $("portal-own").href = setup.portal_url + page;
    if (LISTS.some((list) => page.startsWith(list))) post("/api/looked", { page });
  }
});

// --- life

function wire() {
  const on = (id, act) => $(id).addEventListener("click", act);
  on("scan", scan);
  on("plug-in", () => {
    const [current, phases, soc, capacity] = $("model").value.split(" ").map(Number);
    order("ev.plug_in", { evse: 1, max_current_a: current, phases, soc, capacity_kwh: capacity });
  });
  on("unplug", () => order("ev.unplug", { evse: 1 }));
  on("pause", () => order("ev.pause", { evse: 1 }));
  on("resume", () => order("ev.resume", { evse: 1 }));
  on("swipe", () => order("rfid.swipe", { token: setup.card, evse: 1 }));
  on("swipe-unknown", () => order("rfid.swipe", { token: "0BADC0DE", evse: 1 }));
  on("fault-set", () => order("fault.set", { kind: $("fault").value }));
  on("network-down", () => order("network.down", { mode: $("network-mode").value }));
  on("network-up", () => order("network.up"));
  on("show-payments", () => openPortal("/payments"));
  $("display").addEventListener("load", sharpen);
  window.addEventListener("resize", sharpen);
}

// Enlarged pixels stay square; a picture made smaller is smoothed, because leaving out pixels would break letters and codes.
function sharpen() {
  const image = $("display");
  image.width = image.naturalWidth < 640 ? image.naturalWidth * 2 : image.naturalWidth;
  image.height = image.naturalWidth < 640 ? image.naturalHeight * 2 : image.naturalHeight;
  image.classList.toggle("enlarged", image.clientWidth * devicePixelRatio >= image.naturalWidth);
}

function fill() {
  text("station", setup.station_id);
  text("chargerctl", setup.chargerctl);
  $("fault").replaceChildren(...setup.faults.map(({ kind }) => make("option", kind)));
  const say = () => text("fault-says", setup.faults.find(({ kind }) => kind === $("fault").value).summary);
  $("fault").addEventListener("change", say);
  say();
  openPortal("/chargers");
}

async function start() {
  wire();
  setup = await (await fetch("/api/setup")).json();
  fill();
  const events = new EventSource("/api/live");
  events.addEventListener("message", (event) => show(JSON.parse(event.data)));
  events.addEventListener("error", () => lamp("chip-charger", false, "The demo does not answer"));
}

start();
