// The graph: who calls whom, laid out in layers, with what goes on written on each edge.

import { s, text, attr, keyed, ms, rate, success } from "/dom.js";

const NODE = { width: 136, height: 56 };
const WIDE = { layer: 306, lane: 112 };
const TALL = { layer: 146, lane: 172 };

/** Where each node and each bend of an edge is: layers by the longest way from who is called by nobody. */
export function layout(nodes, edges, tall) {
  const layer = new Map(nodes.map((node) => [node, 0]));
  for (let round = 0; round < nodes.length; round++) {
    let moved = false;
    for (const [from, to] of edges) {
      const wanted = layer.get(from) + 1;
      if (from !== to && layer.get(to) < wanted && wanted < nodes.length) {
        layer.set(to, wanted);
        moved = true;
      }
    }
    if (!moved) break;
  }
  // Whoever only calls stands right before whom it calls.
  for (const node of nodes) {
    const called = edges.filter(([from]) => from === node).map(([, to]) => layer.get(to));
    const calls = edges.some(([, to]) => to === node);
    if (called.length && !calls) layer.set(node, Math.max(0, Math.min(...called) - 1));
  }
  const lanes = [];
  const put = (at, item) => (lanes[at] ||= []).push(item);
  nodes.forEach((node) => put(layer.get(node), node));
  const bends = new Map();
  for (const [from, to] of edges) {
    const between = [];
    for (let at = layer.get(from) + 1; at < layer.get(to); at++) {
      const bend = `${from}>${to}@${at}`;
      put(at, bend);
      between.push(bend);
    }
    bends.set(`${from}>${to}`, between);
  }
  const size = tall ? TALL : WIDE;
  const most = Math.max(1, ...lanes.map((lane) => (lane || []).length));
  const place = new Map();
  lanes.forEach((lane, at) => {
    const start = ((most - lane.length) * size.lane) / 2;
    lane.forEach((item, nth) => {
      const along = at * size.layer + (tall ? NODE.height : NODE.width) / 2 + 8;
      const across = start + nth * size.lane + size.lane / 2;
      place.set(item, tall ? { x: across, y: along } : { x: along, y: across });
    });
  });
  const along = (lanes.length - 1) * size.layer + (tall ? NODE.height : NODE.width) + 16;
  const across = most * size.lane;
  return { place, bends, width: tall ? across : along, height: tall ? along : across };
}

const side = (from, to, tall) => {
  const sign = tall ? Math.sign(to.y - from.y) || 1 : Math.sign(to.x - from.x) || 1;
  return tall
    ? { x: from.x, y: from.y + (sign * NODE.height) / 2 }
    : { x: from.x + (sign * NODE.width) / 2, y: from.y };
};

function curve(points, tall) {
  let path = `M${points[0].x} ${points[0].y}`;
  for (let at = 1; at < points.length; at++) {
    const [a, b] = [points[at - 1], points[at]];
    const half = tall ? (b.y - a.y) / 2 : (b.x - a.x) / 2;
    path += tall
      ? ` C${a.x} ${a.y + half} ${b.x} ${b.y - half} ${b.x} ${b.y}`
      : ` C${a.x + half} ${a.y} ${b.x - half} ${b.y} ${b.x} ${b.y}`;
  }
  return path;
}

function way({ place, bends }, from, to, tall) {
  const [a, b] = [place.get(from), place.get(to)];
  const between = bends.get(`${from}>${to}`).map((bend) => place.get(bend));
  const first = side(a, between[0] || b, tall);
  const last = side(b, between.at(-1) || a, tall);
  const points = [first, ...between, last];
  const middle = between.length
    ? between[Math.floor((between.length - 1) / 2)]
    : { x: (first.x + last.x) / 2, y: (first.y + last.y) / 2 };
  return { path: curve(points, tall), middle };
}

/** Draws it. `nodes` are {name, kind, state, line}, `edges` are {from, to, figures, seconds}. */
export function draw(parent, nodes, edges) {
  const tall = parent.clientWidth > 0 && parent.clientWidth < 720;
  const names = nodes.map((node) => node.name);
  const laid = layout(names, edges.map(({ from, to }) => [from, to]), tall);
  let svg = parent.querySelector("svg");
  if (!svg) {
    svg = s("svg", { role: "img", "aria-label": "Topology; the table below has the same figures" },
      s("defs", null, arrow("arrow"), arrow("arrow-bad"), arrow("arrow-idle")),
      s("g", { class: "ways" }), s("g", { class: "nodes" }), s("g", { class: "labels" }));
    parent.append(svg);
  }
  attr(svg, "viewBox", `0 0 ${laid.width} ${laid.height}`);
  svg.style.maxWidth = `${laid.width * 1.15}px`;
  const [ways, drawn, labels] = svg.querySelectorAll("g.ways, g.nodes, g.labels");
  const key = (edge) => `${edge.from}>${edge.to}`;
  keyed(ways, edges, key, () => s("path", { fill: "none" }), (path, edge) => {
    const kind = kindOf(edge);
    attr(path, "class", `way ${kind}`);
    attr(path, "d", way(laid, edge.from, edge.to, tall).path);
    attr(path, "marker-end", `url(#${{ bad: "arrow-bad", failing: "arrow-bad", idle: "arrow-idle" }[kind] || "arrow"})`);
    path.style.strokeWidth = kind === "idle" ? 1.2 : Math.min(5, 1.4 + Math.log10(1 + edge.figures.count / edge.seconds));
  });
  keyed(labels, edges.filter((edge) => kindOf(edge) !== "idle"), key, label, (group, edge) => {
    const { middle } = way(laid, edge.from, edge.to, tall);
    const { count, denied, p50_ms, p95_ms } = edge.figures;
    const kind = kindOf(edge);
    attr(group, "class", `label ${kind}`);
    attr(group, "transform", `translate(${middle.x} ${middle.y})`);
    const [first, second] = group.querySelectorAll("text");
    const whole = denied === count;
    text(first, denied ? `✕ ${rate(denied / edge.seconds)}/s denied` : `${rate(count / edge.seconds)}/s · ${success(edge.figures)}`);
    text(second, denied ? (whole ? "none is let in" : `of ${rate(count / edge.seconds)}/s`) : both(ms(p50_ms), ms(p95_ms)));
  });
  keyed(drawn, nodes, (node) => node.name, box, (group, node) => {
    const { x, y } = laid.place.get(node.name);
    attr(group, "class", `node is-${node.kind} ${node.state}`);
    attr(group, "transform", `translate(${x} ${y})`);
    const [name, line] = group.querySelectorAll("text");
    text(name, node.name.length > 17 ? `${node.name.slice(0, 16)}…` : node.name);
    text(line, node.line);
  });
}

/** `p50 2.40 · p95 3.21 ms`: a unit that is the same is said once. */
function both(p50, p95) {
  const [number, unit] = p50.split(" ");
  return `p50 ${p95.endsWith(` ${unit}`) ? number : p50} · p95 ${p95}`;
}

function kindOf({ figures }) {
  if (!figures || !figures.count) return "idle";
  if (figures.denied) return "bad";
  return figures.successes < figures.count ? "failing" : "good";
}

const arrow = (id) =>
  s("marker", { id, class: id, viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 9, markerHeight: 9, markerUnits: "userSpaceOnUse", orient: "auto" },
    s("path", { d: "M0 0.5L8 4L0 7.5z" }));

const box = () =>
  s("g", null,
    s("rect", { x: -NODE.width / 2, y: -NODE.height / 2, width: NODE.width, height: NODE.height, rx: 10 }),
    s("circle", { class: "dot", cx: NODE.width / 2 - 14, cy: -NODE.height / 2 + 14, r: 4 }),
    s("text", { class: "name", x: -NODE.width / 2 + 14, y: -3 }),
    s("text", { class: "line", x: -NODE.width / 2 + 14, y: 16 }));

const label = () =>
  s("g", null,
    s("rect", { x: -75, y: -19, width: 150, height: 38, rx: 8 }),
    s("text", { y: -4, "text-anchor": "middle" }),
    s("text", { class: "second", y: 12, "text-anchor": "middle" }));
