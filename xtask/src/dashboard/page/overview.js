// What runs and how it goes: figures, the graph, services with their pods, who reaches which pods.

import { $, h, text, attr, keyed, ms, rate, percent, success, span, toast } from "/dom.js";
import { on, act } from "/live.js";
import { draw } from "/topology.js";

const INGRESS = "ingress";
const POINTS = 60;

let plan = null;
let status = null;
let traffic = null;
let connections = [];
let told = 0;
const past = [];

const name = (side) => (plan && side.namespace === plan.topology.ingress_namespace ? INGRESS : side.name);

export function start() {
  on("plan", (value) => ((plan = value), render()));
  on("status", (value) => {
    status = value;
    told = value.at;
    render();
  });
  on("traffic", (value) => {
    traffic = value.blind ? null : value;
    connections = value.connections || [];
    $("blind").hidden = !value.blind;
    if (value.blind) text($("blind"), `No calls are shown: ${value.blind}. Bring it up with --linkerd to see them.`);
    if (traffic) {
      past.push({ ...sum(traffic.edges), seconds: traffic.seconds || 1 });
      if (past.length > POINTS) past.shift();
    }
    render();
  });
  on("hello", () => (past.length = 0));
  new ResizeObserver(render).observe($("graph"));
  setInterval(ages, 1000);
}

export const shown = () => render();

function sum(edges) {
  const all = { count: 0, successes: 0, denied: 0, secured: 0, p95: 0 };
  for (const figures of edges) {
    all.count += figures.count;
    all.successes += figures.successes;
    all.denied += figures.denied;
    all.secured += figures.secured;
    if (figures.count) all.p95 = Math.max(all.p95, figures.p95_ms);
  }
  return all;
}

let waiting = false;
function render() {
  if (waiting || $("overview").hidden) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    if (!plan || !status) return;
    $("faults").hidden = !status.faults.length;
    text($("faults"), `Faults on purpose: ${status.faults.join("; ")}`);
    tiles();
    graph();
    services();
    spread();
  });
}

function tiles() {
  const seconds = traffic?.seconds || 1;
  const now = past.at(-1) || { count: 0, successes: 0, denied: 0, secured: 0, p95: 0 };
  const ready = status.pods.filter((pod) => pod.state === "Ready").length;
  const series = (pick) => past.map(pick);
  const items = [
    { key: "Pods ready", value: `${ready}/${status.pods.length}`, bad: ready < status.pods.length },
  ];
  if (traffic) {
    items.push(
      { key: "Calls", value: `${rate(now.count / seconds)}/s`, line: series((p) => p.count / p.seconds) },
      { key: "Success", value: success(now), bad: now.successes < now.count, line: series((p) => (p.count ? p.successes / p.count : 1)) },
      { key: "Slowest p95", value: now.count ? ms(now.p95) : "–", line: series((p) => p.p95) },
      { key: "Denied", value: now.denied ? `${rate(now.denied / seconds)}/s` : "none", bad: now.denied > 0, line: past.some((p) => p.denied) ? series((p) => p.denied / p.seconds) : null },
      { key: "Mutual TLS", value: percent(now.secured, now.count), bad: now.secured < now.count },
    );
  }
  keyed($("tiles"), items, (item) => item.key,
    (item) => h("div", { class: "tile" }, h("dt", null, item.key), h("dd"), h("canvas", { width: 120, height: 28, "aria-hidden": "true" })),
    (tile, item) => {
      attr(tile, "class", item.bad ? "tile bad" : "tile");
      text(tile.querySelector("dd"), item.value);
      spark(tile.querySelector("canvas"), item.line);
    });
}

function spark(canvas, line) {
  canvas.hidden = !line;
  if (!line) return;
  const pen = canvas.getContext("2d");
  const [width, height] = [canvas.width, canvas.height];
  pen.clearRect(0, 0, width, height);
  pen.strokeStyle = getComputedStyle(canvas).color;
  pen.lineWidth = 1.5;
  const top = Math.max(...line, 1e-9);
  pen.beginPath();
  line.forEach((value, at) => pen.lineTo((width * (at + POINTS - line.length)) / (POINTS - 1), height - 2 - (height - 4) * (value / top)));
  pen.stroke();
}

function graph() {
  const seconds = traffic?.seconds || 1;
  const nothing = { count: 0, successes: 0, denied: 0, secured: 0 };
  const edges = new Map();
  for (const [from, to] of plan.topology.edges) edges.set(`${from}>${to}`, { from, to, figures: nothing, seconds });
  for (const edge of traffic?.edges || []) {
    const [from, to] = [name(edge.source), name(edge.destination)];
    const known = edges.has(`${from}>${to}`);
    if (known || edge.count) edges.set(`${from}>${to}`, { from, to, figures: edge, seconds, edge });
  }
  const all = [...edges.values()];
  const nodes = new Set([...plan.topology.nodes, ...all.flatMap(({ from, to }) => [from, to])]);
  const drawn = [...nodes].sort().map((own) => {
    const deployment = status.deployments.find((it) => it.name === own);
    const into = all.filter((edge) => edge.to === own).reduce((count, edge) => count + edge.figures.count, 0);
    const calls = traffic && into ? ` · ${rate(into / seconds)}/s` : "";
    if (own === INGRESS) return { name: own, kind: "gate", state: "ok", line: status.ingress || "" };
    if (!deployment) return { name: own, kind: "client", state: "ok", line: "client" };
    const state = deployment.ready < deployment.desired ? "not-ready" : deployment.desired ? "ok" : "off";
    return { name: own, kind: "service", state, line: `${deployment.ready}/${deployment.desired} ready${calls}` };
  });
  draw($("graph"), drawn, all);
  $("edges").parentElement.hidden = !traffic;
  text($("window"), traffic ? `of the last ${Math.max(1, Math.round(seconds))} s` : "");
  keyed($("edges").tBodies[0], all, (edge) => `${edge.from}>${edge.to}`,
    () => h("tr", null, h("th", { scope: "row" }), ...Array.from({ length: 8 }, (_, at) => h("td", { class: at ? "n" : null }))),
    (row, { from, to, figures, edge }) => {
      attr(row, "class", figures.denied ? "bad" : null);
      attr(row, "data-count", figures.count);
      const cells = [
        from, to,
        figures.count ? `${rate(figures.count / seconds)}/s` : "–",
        success(figures),
        ms(figures.p50_ms), ms(figures.p95_ms), ms(figures.p99_ms),
        figures.count ? (figures.secured === figures.count ? "✓ all" : percent(figures.secured, figures.count)) : "–",
        figures.denied ? `✕ ${figures.denied}` : "–",
      ];
      cells.forEach((cell, at) => text(row.cells[at], cell));
      attr(row.cells[7], "title", edge?.client_id ? `${edge.client_id} → ${edge.server_id}` : edge?.no_tls_reason);
    });
  if (traffic) attr($("edges"), "data-seconds", seconds.toFixed(3));
}

const WORDS = { NotReady: "not ready", CrashLoopBackOff: "crash loop" };

function services() {
  text($("pods"), `${status.deployments.length} services, ${status.pods.length} pods`);
  keyed($("services"), status.deployments, (own) => own.name, service, (card, own) => {
    const pods = status.pods.filter((pod) => pod.deployment === own.name);
    const [title, count] = card.querySelectorAll("h3, .ready");
    text(title, own.name);
    text(count, own.updated < own.desired ? `${own.ready}/${own.desired} ready, ${own.updated} updated` : `${own.ready}/${own.desired} ready`);
    attr(count, "class", own.ready < own.desired ? "ready bad" : "ready");
    card.querySelector(".less").disabled = own.desired < 1;
    card.dataset.desired = own.desired;
    keyed(card.querySelector("ul"), pods, (pod) => pod.name,
      () => h("li", null, h("span", { class: "badge" }), h("span", { class: "pod" }), h("span", { class: "facts" }), h("span", { class: "reason" })),
      (item, pod) => {
        const [badge, id, facts, reason] = item.children;
        text(badge, WORDS[pod.state] || pod.state.toLowerCase());
        attr(badge, "class", `badge ${pod.state}`);
        text(id, pod.name.slice(own.name.length + 1));
        attr(id, "title", `${pod.name}, ${pod.ip}${pod.pid ? `, pid ${pod.pid}` : ""}`);
        item.dataset.since = told - pod.age_seconds * 1000;
        item.dataset.restarts = pod.restarts;
        attr(facts, "class", pod.restarts ? "facts warn" : "facts");
        text(reason, pod.state === "Ready" ? "" : pod.reason);
      });
  });
  ages();
}

function ages() {
  if ($("overview").hidden) return;
  for (const item of $("services").querySelectorAll("li")) {
    const { since, restarts } = item.dataset;
    const again = Number(restarts) ? `${restarts} restart${restarts === "1" ? "" : "s"}, ` : "";
    text(item.querySelector(".facts"), `${again}${span(Date.now() - since).replace(/\.\d s/, " s")}`);
  }
}

function service(own) {
  const does = async (what, body) => {
    try {
      toast(await act(what, { service: own.name, ...body }));
    } catch (error) {
      toast(error.message, true);
    }
  };
  const card = h("article", { class: "service" });
  const scale = (by) => does("scale", { replicas: Math.max(0, Number(card.dataset.desired) + by) });
  card.append(
    h("div", { class: "line" },
      h("h3"), h("span", { class: "ready" }),
      h("span", { class: "acts" },
        h("button", { class: "less", "aria-label": `One pod of ${own.name} less`, title: "one pod less", onclick: () => scale(-1) }, "−"),
        h("button", { class: "more", "aria-label": `One pod of ${own.name} more`, title: "one pod more", onclick: () => scale(1) }, "+"),
        h("button", { "aria-label": `Restart ${own.name}`, onclick: () => does("restart", {}) }, "Restart"))),
    h("ul", { class: "pods" }));
  return card;
}

function spread() {
  text($("spread-hint"), traffic ? "which pods a client's calls reach" : "which pods a client's connections reach");
  const pairs = new Map();
  // Without sidecars, connections are what is known: a gRPC client has one.
  const rows = traffic ? traffic.rows : connections.map((own) => ({ ...own, recent: own.open }));
  for (const row of rows) {
    const to = row.destination_deployment;
    if (!to || !row.recent) continue;
    const from = row.source_deployment || (row.source.endsWith(`.${plan.topology.ingress_namespace}`) ? INGRESS : row.source);
    const pair = pairs.get(`${from}>${to}`) || { from, to, all: 0, pods: new Map() };
    pair.pods.set(row.destination, (pair.pods.get(row.destination) || 0) + row.recent);
    pair.all += row.recent;
    pairs.set(`${from}>${to}`, pair);
  }
  const shown = [...pairs.values()].sort((a, b) => (a.from + a.to).localeCompare(b.from + b.to));
  for (const pair of shown) {
    for (const pod of status.pods) if (pod.deployment === pair.to && !pair.pods.has(pod.name)) pair.pods.set(pod.name, 0);
  }
  if (!shown.length) {
    $("spread").replaceChildren(h("p", { class: "empty" }, traffic ? "no calls lately" : "no connections between pods"));
    return;
  }
  $("spread").querySelector(".empty")?.remove();
  keyed($("spread"), shown, (pair) => `${pair.from}>${pair.to}`,
    () => h("div", { class: "pair" }, h("p", null, h("strong"), h("span", { class: "verdict" })), h("ul")),
    (item, pair) => {
      const pods = [...pair.pods].sort(([a], [b]) => a.localeCompare(b));
      const used = pods.filter(([, count]) => count).length;
      text(item.querySelector("strong"), `${pair.from} → ${pair.to}`);
      const pinned = pods.length > 1 && used === 1;
      text(item.querySelector(".verdict"), pods.length === 1 ? "one pod" : pinned ? `pinned to 1 of ${pods.length}` : `${used} of ${pods.length} pods`);
      attr(item.querySelector(".verdict"), "class", pinned ? "verdict warn" : "verdict");
      keyed(item.querySelector("ul"), pods, ([pod]) => pod,
        () => h("li", null, h("span", { class: "pod" }), h("span", { class: "bar" }, h("i")), h("span", { class: "n" })),
        (line, [pod, count]) => {
          text(line.children[0], pod.startsWith(`${pair.to}-`) ? pod.slice(pair.to.length + 1) : pod);
          line.querySelector("i").style.width = `${(count / pair.all) * 100}%`;
          text(line.children[2], traffic ? `${Math.round((count / pair.all) * 100)} %` : String(count));
        });
    });
}
