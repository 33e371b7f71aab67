// The table of calls: what `top` shows, sorted, filtered, paused.

import { $, h, text, attr, keyed, ms, rate, success } from "/dom.js";
import { on } from "/live.js";

const COLUMNS = [
  ["Source", (row) => row.source, (row) => row.source],
  ["Destination", (row) => row.destination, (row) => row.destination],
  ["Protocol", (row) => row.protocol, (row) => row.protocol],
  ["Method", (row) => row.method, (row) => row.method],
  ["Path", (row) => row.path, (row) => row.path],
  ["Count", (row) => String(row.count), (row) => row.count],
  ["Best", (row) => ms(row.best_ms), (row) => row.best_ms],
  ["Worst", (row) => ms(row.worst_ms), (row) => row.worst_ms],
  ["Last", (row) => ms(row.last_ms), (row) => row.last_ms],
  ["Success", success, (row) => row.successes / row.count],
  ["Rate", (row, seconds) => `${rate(row.recent / seconds)}/s`, (row) => row.recent],
  ["Denied", (row) => (row.denied ? `✕ ${row.denied}` : "–"), (row) => row.denied],
];
const NUMBERS = 5;

let traffic = null;
let paused = false;
let sorted = { by: 10, up: false };

export function start() {
  on("traffic", (value) => {
    if (paused && !value.blind) return;
    traffic = value;
    render();
  });
  $("calls-table").tHead.rows[0].append(...COLUMNS.map(([title], at) =>
    h("th", { scope: "col", class: at >= NUMBERS ? "n" : null }, h("button", { class: "sort", onclick: () => sort(at) }, title))));
  $("calls-filter").addEventListener("input", render);
  $("calls-pause").addEventListener("click", () => {
    paused = !paused;
    attr($("calls-pause"), "aria-pressed", String(paused));
    text($("calls-pause"), paused ? "Go on" : "Pause");
    render();
  });
}

export const shown = () => render();

function sort(by) {
  sorted = { by, up: sorted.by === by ? !sorted.up : by < NUMBERS };
  render();
}

function render() {
  if ($("calls").hidden) return;
  COLUMNS.forEach((_, at) =>
    attr($("calls-table").tHead.rows[0].cells[at], "aria-sort", sorted.by === at ? (sorted.up ? "ascending" : "descending") : null));
  if (!traffic || traffic.blind) {
    text($("calls-hint"), traffic?.blind || "nothing was told yet");
    $("calls-table").tBodies[0].replaceChildren();
    return;
  }
  const wanted = $("calls-filter").value.trim().toLowerCase().split(/\s+/);
  const words = (row) => `${row.source} ${row.destination} ${row.protocol} ${row.method} ${row.path}${row.denied ? " denied" : ""}`.toLowerCase();
  const of = COLUMNS[sorted.by][2];
  const rows = traffic.rows
    .filter((row) => wanted.every((word) => words(row).includes(word)))
    .sort((a, b) => (of(a) < of(b) ? -1 : of(a) > of(b) ? 1 : 0) * (sorted.up ? 1 : -1));
  const missed = traffic.missed ? `; ${traffic.missed} more came too fast, or were of too many kinds` : "";
  text($("calls-hint"), `${rows.length} of ${traffic.rows.length} kinds of calls${missed}${paused ? "; paused" : ""}`);
  keyed($("calls-table").tBodies[0], rows,
    (row) => [row.source, row.destination, row.protocol, row.method, row.path].join(" "),
    () => h("tr", null, ...COLUMNS.map((_, at) => h("td", { class: at >= NUMBERS ? "n" : null }))),
    (line, row) => {
      attr(line, "class", row.denied ? "bad" : row.recent ? null : "quiet");
      COLUMNS.forEach(([, cell], at) => text(line.cells[at], cell(row, traffic.seconds || 1)));
    });
}
