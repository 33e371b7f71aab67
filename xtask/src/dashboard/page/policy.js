// Who may call whom, why, and what is odd in it.

import { $, h, text, attr, keyed, toast } from "/dom.js";
import { on, act, ask } from "/live.js";

const MARKS = {
  allow: ["✓", "allowed"],
  some: ["◐", "some requests allowed"],
  audit: ["◌", "allowed, and noted"],
  deny: ["✕", "denied"],
  open: ["○", "open: no Server guards it"],
};

let policies = null;
let meshed = false;
let chosen = null;

export function start() {
  on("plan", (plan) => {
    meshed = plan.linkerd;
    render();
  });
  on("policies", (value) => {
    policies = value;
    render();
    if (chosen) why(chosen);
  });
  $("legend").append(...Object.values(MARKS).flatMap(([mark, words]) => [h("span", null, `${mark} ${words}`), " "]));
  $("policy-switch").addEventListener("click", async () => {
    try {
      toast(await act("policies", { on: !policies.objects }));
    } catch (error) {
      toast(error.message, true);
    }
  });
}

export const shown = () => render();

function verdict(cell) {
  const kinds = new Set(cell.requests.map((request) => request.verdict));
  if (!cell.guarded && kinds.size === 1 && kinds.has("allow")) return "open";
  if (kinds.size === 1) return kinds.has("allow") ? "allow" : kinds.has("audit") ? "audit" : "deny";
  return kinds.has("allow") || kinds.has("audit") ? "some" : "deny";
}

function render() {
  if ($("policy").hidden) return;
  if (!meshed || !policies) {
    text($("policy-state"), meshed ? "nothing was told yet" : "nothing enforces policies without sidecars: bring it up with --linkerd");
    $("policy-switch").hidden = true;
    return;
  }
  const { objects, cells, check } = policies;
  text($("policy-state"), objects ? `${objects} objects in force` : "no policies in force");
  $("policy-switch").hidden = false;
  text($("policy-switch"), objects ? "Take policies away" : "Apply the shipped policies");
  const ports = [...new Set(cells.map((cell) => cell.to))];
  const clients = [...new Set(cells.map((cell) => cell.client))];
  const table = $("matrix");
  keyed(table.tHead.rows[0], ["", ...ports], (port) => port || "-",
    (port) => (port ? h("th", { scope: "col" }) : h("td")), (cell, port) => text(cell, port));
  keyed(table.tBodies[0], clients, (client) => client, () => h("tr"), (row, client) => {
    keyed(row, ["", ...ports], (port) => port || "-",
      (port) => (port ? h("td", null, h("button", { class: "cell" })) : h("th", { scope: "row" }, client)),
      (cell, port) => {
        if (!port) return;
        const own = cells.find((it) => it.client === client && it.to === port);
        const button = cell.firstElementChild;
        if (!own) return;
        const kind = verdict(own);
        attr(button, "class", `cell ${kind}`);
        text(button, MARKS[kind][0]);
        attr(button, "aria-label", `${client} to ${port}: ${MARKS[kind][1]}`);
        attr(button, "title", `${client} → ${port}: ${MARKS[kind][1]}`);
        attr(button, "aria-pressed", String(chosen?.client === client && chosen?.to === port));
        button.onclick = () => why({ client, to: port });
      });
  });
  findings(check);
}

async function why(pair) {
  chosen = pair;
  render();
  let told;
  try {
    told = await ask(`/policies/explain?client=${encodeURIComponent(pair.client)}&to=${encodeURIComponent(pair.to)}`);
  } catch (error) {
    return toast(error.message, true);
  }
  if (chosen !== pair) return;
  const status = (one) => (one.grpc_status !== null ? `gRPC ${one.grpc_status}` : one.http_status !== null ? `HTTP ${one.http_status}` : "no answer");
  $("why").replaceChildren(
    h("h3", null, `${pair.client} → ${pair.to}`),
    ...told.map((one) =>
      h("section", { class: `told ${one.verdict}` },
        h("h4", null, h("code", null, one.request), " ", h("span", { class: "badge" }, one.verdict), ` ${status(one)}`),
        h("ol", null, ...one.chain.map((link) => h("li", null, h("b", null, link.step), " ", link.text))))),
    told.length ? "" : h("p", { class: "empty" }, "no request of this port can be told"));
}

function findings(check) {
  const list = check?.findings || [];
  const count = (severity) => list.filter((one) => one.severity === severity).length;
  text($("check-sum"), check ? `${count("error")} errors, ${count("warning")} warnings in ${check.objects} objects of ${check.files} files` : "the shipped policies cannot be read: cargo xtask policy check says why");
  $("findings").replaceChildren(
    ...list.map((one) =>
      h("article", { class: `finding ${one.severity}` },
        h("p", null, h("span", { class: "badge" }, one.severity), " ", h("code", null, `${one.file}${one.line ? `:${one.line}` : ""}`)),
        h("p", null, one.cause), one.remedy ? h("p", { class: "hint" }, one.remedy) : null)),
    list.length || !check ? "" : h("p", { class: "empty" }, "nothing found"));
}
