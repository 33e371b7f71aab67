// What happened: builds, rollouts, policies, in rounds from a change to its end.

import { $, h, text, keyed, clock, span } from "/dom.js";
import { on } from "/live.js";

const ROUNDS = 30;
let rounds = [];
let number = 0;

export function start() {
  on("hello", () => (rounds = []));
  on("happened", (events) => {
    for (const event of events) take(event);
    rounds = rounds.slice(-ROUNDS);
    render();
  });
}

export const shown = () => render();

function round(at, title, detail) {
  const made = { key: String(number++), at, end: at, title, detail, items: [] };
  rounds.push(made);
  return made;
}

function item(at, what, kind, begin, detail) {
  // What comes long after all else is a round of its own.
  const last = rounds.at(-1);
  const own = last && (at - last.end < 15000 || kind === "rollout") ? last : round(begin, "Change", "");
  own.end = Math.max(own.end, at);
  own.at = Math.min(own.at, begin);
  const open = own.items.find((it) => it.what === what && it.open);
  if (open) return Object.assign(open, { begin, end: at, kind, detail });
  const made = { key: String(number++), what, kind, begin, end: at, detail, open: false };
  own.items.push(made);
  return made;
}

function take(event) {
  const { at } = event;
  switch (event.event) {
    case "runtime": round(at, `Up on the ${event.runtime} runtime`, event.reason); break;
    case "changed": round(at, "Changed", [...event.files.slice(0, 3), ...(event.files.length > 3 ? [`and ${event.files.length - 3} more`] : [])].join(", ")); break;
    case "step_started": item(at, event.step, "step", at, "under way").open = true; break;
    case "step_finished": item(at, event.step, "step", at - event.ms, event.detail).open = false; break;
    case "step_failed": item(at, event.step, "failed", at - event.ms, "failed").open = false; break;
    case "rollout": item(at, `rollout ${event.deployment}`, event.done ? "rollout" : "step", at - event.ms,
      event.done ? `${event.ready} ready` : `${event.updated}/${event.desired} updated, ${event.ready} ready`).open = !event.done; break;
    case "policies": item(at, "policies", "policies", at, event.changes.length > 2 ? `${event.changes.length} objects changed: ${event.changes[0]}, …` : event.changes.join(", ")); break;
    case "ready": item(at, "ready", "done", at, `after ${span(event.ms)}`); break;
    case "pod": if (event.state === "CrashLoopBackOff") item(at, event.pod, "failed", at, event.reason || "crash loop"); break;
    case "warning": item(at, "warning", "warn", at, event.message); break;
    case "error": item(at, "error", "failed", at, event.message); break;
    case "stopping": round(at, "Stopping", event.reason); break;
    default: break;
  }
}

function render() {
  if ($("timeline").hidden) return;
  const shown = [...rounds].reverse().filter((own) => own.items.length || own.detail);
  keyed($("rounds"), shown, (own) => own.key,
    () => h("article", { class: "round" }, h("h3", null, h("time"), h("span", { class: "title" }), h("span", { class: "took" })), h("p", { class: "hint" }), h("ul")),
    (article, own) => {
      const whole = Math.max(1, own.end - own.at);
      text(article.querySelector("time"), clock(own.at));
      text(article.querySelector(".title"), own.title);
      text(article.querySelector(".took"), own.items.length ? span(own.end - own.at) : "");
      text(article.querySelector("p"), own.detail || "");
      keyed(article.querySelector("ul"), own.items, (it) => it.key,
        () => h("li", null, h("span", { class: "what" }), h("span", { class: "track" }, h("i")), h("span", { class: "n" }), h("span", { class: "detail" })),
        (line, it) => {
          line.className = it.kind + (it.open ? " open" : "");
          const [what, track, took, detail] = line.children;
          text(what, it.what);
          const bar = track.firstElementChild;
          bar.style.marginLeft = `${Math.min(99, ((it.begin - own.at) / whole) * 100)}%`;
          bar.style.width = `${Math.max(0.7, ((it.end - it.begin) / whole) * 100)}%`;
          text(took, it.end > it.begin ? span(it.end - it.begin) : "");
          text(detail, it.detail || "");
        });
    });
}
