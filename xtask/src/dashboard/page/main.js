// The frame: views, keys, what is live and what is stale.

import { $, h, text, span, toast, clock } from "/dom.js";
import * as live from "/live.js";
import * as overview from "/overview.js";
import * as calls from "/calls.js";
import * as logs from "/logs.js";
import * as timeline from "/timeline.js";
import * as policy from "/policy.js";

const VIEWS = ["overview", "calls", "logs", "timeline", "policy"];
const parts = { overview, calls, logs, timeline, policy };
let view = "overview";

function show(name, focus) {
  view = VIEWS.includes(name) ? name : "overview";
  for (const own of VIEWS) {
    const tab = $(`tab-${own}`);
    const here = own === view;
    tab.setAttribute("aria-selected", String(here));
    tab.tabIndex = here ? 0 : -1;
    $(own).hidden = !here;
    if (here && focus) tab.focus();
  }
  if (location.hash.slice(1) !== view) history.replaceState(null, "", `#${view}`);
  parts[view].shown?.();
}

for (const [at, name] of VIEWS.entries()) {
  const tab = $(`tab-${name}`);
  tab.addEventListener("click", () => show(name));
  tab.addEventListener("keydown", (event) => {
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: VIEWS.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    show(VIEWS[(to + VIEWS.length) % VIEWS.length], true);
  });
}
addEventListener("hashchange", () => show(location.hash.slice(1)));

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || $("keys").open) return;
  if (event.target.matches("input, select, textarea")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const number = Number(event.key);
  if (number >= 1 && number <= VIEWS.length) show(VIEWS[number - 1], true);
  else if (event.key === "?") $("keys").showModal();
  else if (event.key === "/") {
    if (view !== "logs") show("calls");
    event.preventDefault();
    $(view === "logs" ? "logs-search" : "calls-filter").focus();
  } else if (event.key === "f" && view === "logs") $("logs-follow").click();
  else if (event.key === "p" && view === "calls") $("calls-pause").click();
});
$("help").addEventListener("click", () => $("keys").showModal());

live.on("state", ({ state, heard }) => {
  const stale = state === "stale";
  $("state").className = `state ${state}`;
  text($("state-text"), stale ? "stale" : state);
  document.body.classList.toggle("is-stale", stale);
  $("stale").hidden = !stale;
  if (stale) {
    const since = heard ? ` What is shown is of ${clock(heard)}, ${span(Date.now() - heard)} ago.` : "";
    text($("stale"), `up does not answer.${since} It goes on by itself when up is back.`);
  }
});
live.on("hello", ({ restarted }) => restarted && toast("up was started anew"));

live.on("plan", (plan) => {
  const name = plan.workspace.split("/").filter(Boolean).pop() || plan.workspace;
  text($("workspace"), name);
  document.title = `${name} · dashboard`;
  const chip = (on, yes, no) => h("li", { class: on ? "chip on" : "chip" }, on ? yes : no);
  $("mode").replaceChildren(chip(plan.grpc, "gRPC", "HTTP"), chip(plan.linkerd, "Linkerd mesh", "no mesh"));
  const host = (url) => new URL(url).hostname;
  $("links").replaceChildren(...plan.links.map((url) => h("a", { href: url, target: "_blank", rel: "noreferrer" }, host(url), " ↗")));
});

let since = 0;
let runtime = "";
live.on("status", (status) => {
  since = status.at - status.uptime_seconds * 1000;
  runtime = `${status.runtime} runtime${status.pid ? `, pid ${status.pid}` : ""}`;
  about();
});
function about() {
  if (since) text($("about"), `${runtime}, up ${span(Date.now() - since)}`);
}
setInterval(about, 1000);

for (const part of Object.values(parts)) part.start();
show(location.hash.slice(1));
live.start();
