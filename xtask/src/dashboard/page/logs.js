// What services write: searched, filtered, followed. However much comes, so much is kept and shown.

import { $, h, text, attr, keyed, clock } from "/dom.js";
import { on } from "/live.js";

/** Lines that are kept of each service, and elements that there are at most. */
const KEPT = 1000;
const SHOWN = 1000;
/** At most so many lines are put on the page at once. */
const BATCH = 250;

let kept = new Map();
/** So many came, and so many were left out on the way. */
let seen = 0;
let dropped = 0;
let follow = true;
const hidden = new Set();
let fresh = [];
let waiting = false;

export function start() {
  on("hello", clear);
  on("lines", ({ lines, dropped: missed }) => {
    dropped += missed;
    for (const line of lines) {
      line.number = seen++;
      const own = kept.get(line.service) || [];
      if (!own.length) kept.set(line.service, own);
      own.push(line);
      // In steps: taking away the first each time would move all others.
      if (own.length > KEPT * 1.2) own.splice(0, own.length - KEPT);
    }
    if ($("logs").hidden) return;
    fresh.push(...lines.filter(wanted));
    if (fresh.length > SHOWN) fresh.splice(0, fresh.length - SHOWN);
    later();
  });
  $("logs-search").addEventListener("input", renew);
  $("logs-clear").addEventListener("click", clear);
  $("logs-follow").addEventListener("click", () => set(!follow));
  const list = $("logs-lines");
  list.addEventListener("scroll", () => {
    const end = list.scrollHeight - list.scrollTop - list.clientHeight < 8;
    if (!end && follow && list.matches(":hover, :focus")) set(false);
  }, { passive: true });
}

export const shown = () => renew();

function set(value) {
  follow = value;
  attr($("logs-follow"), "aria-pressed", String(follow));
  if (follow) later();
}

function clear() {
  kept = new Map();
  fresh = [];
  dropped = 0;
  $("logs-lines").replaceChildren();
  hint();
}

const searched = () => $("logs-search").value.toLowerCase();
const wanted = (line) => !hidden.has(line.service) && (!searched() || `${line.pod} ${line.text}`.toLowerCase().includes(searched()));

/** Everything that is kept, anew. */
function renew() {
  const all = [...kept.values()].flat().filter(wanted).sort((a, b) => a.number - b.number);
  fresh = all.slice(-SHOWN);
  $("logs-lines").replaceChildren();
  later();
}

function later() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    put();
  });
}

const LEVEL = /^(ERROR|WARN|INFO|DEBUG|TRACE)\b\s*/;

function put() {
  const list = $("logs-lines");
  const batch = document.createDocumentFragment();
  for (const line of fresh.splice(0, BATCH)) {
    const level = LEVEL.exec(line.text)?.[1];
    batch.append(h("div", { class: level ? `line ${level}` : "line" },
      h("time", null, clock(line.at)), h("span", { class: `who c${colour(line.service)}`, title: line.pod }, line.service),
      h("span", { class: "what" }, line.text)));
  }
  list.append(batch);
  for (let over = list.childElementCount - SHOWN; over > 0; over--) list.firstElementChild.remove();
  if (follow) list.scrollTop = list.scrollHeight;
  filters();
  hint();
  if (fresh.length) later();
}

const colours = new Map();
function colour(service) {
  if (!colours.has(service)) colours.set(service, colours.size % 6);
  return colours.get(service);
}

function filters() {
  keyed($("logs-services"), [...kept.keys()].sort(), (own) => own,
    (own) => h("button", { "aria-pressed": "true", onclick: () => {
      if (!hidden.delete(own)) hidden.add(own);
      renew();
    } }, own),
    (button, own) => attr(button, "aria-pressed", String(!hidden.has(own))));
}

function hint() {
  attr($("logs-lines"), "data-seen", seen + dropped);
  const count = $("logs-lines").childElementCount;
  const missed = dropped ? `; ${dropped} came too fast and were left out: cargo xtask logs has them` : "";
  text($("logs-hint"), `${count} lines, the last ${SHOWN} at most${missed}`);
}
