// Making and changing elements. Text is only ever set as text, never as HTML.

const SVG = "http://www.w3.org/2000/svg";

export const $ = (id) => document.getElementById(id);

function fill(element, props, children) {
  for (const [name, value] of Object.entries(props || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** An HTML element with attributes (`onclick` adds a listener) and children. */
export const h = (tag, props, ...children) => fill(document.createElement(tag), props, children);

/** An SVG element. */
export const s = (tag, props, ...children) => fill(document.createElementNS(SVG, tag), props, children);

/** Sets text, touching the page only where it differs. */
export function text(element, value) {
  if (element.textContent !== value) element.textContent = value;
}

/** Sets or takes an attribute, touching the page only where it differs. */
export function attr(element, name, value) {
  if (value === null || value === undefined || value === false) {
    if (element.hasAttribute(name)) element.removeAttribute(name);
  } else if (element.getAttribute(name) !== String(value)) {
    element.setAttribute(name, String(value));
  }
}

/** Makes the children of `parent` those of `items`, in order: each is made once by its key, then changed. */
export function keyed(parent, items, key, make, change) {
  const old = new Map();
  for (const child of parent.children) old.set(child.dataset.key, child);
  let at = parent.firstElementChild;
  for (const item of items) {
    const name = key(item);
    let child = old.get(name);
    if (child) old.delete(name);
    else {
      child = make(item);
      child.dataset.key = name;
    }
    if (child === at) at = at.nextElementSibling;
    else parent.insertBefore(child, at);
    change(child, item);
  }
  for (const gone of old.values()) gone.remove();
}

/** Three digits that mean something. */
export function ms(value) {
  if (value === null || value === undefined) return "–";
  if (value < 0.9995) return `${(value * 1000).toFixed(0)} µs`;
  if (value < 9.995) return `${value.toFixed(2)} ms`;
  if (value < 99.95) return `${value.toFixed(1)} ms`;
  if (value < 999.5) return `${value.toFixed(0)} ms`;
  return span(value);
}

/** A time as people say it: `3.2 s`, `1m05s`. */
export function span(millis) {
  const seconds = millis / 1000;
  if (seconds < 1) return `${Math.round(millis)} ms`;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const whole = Math.floor(seconds);
  const two = (n) => String(n).padStart(2, "0");
  if (whole < 3600) return `${Math.floor(whole / 60)}m${two(whole % 60)}s`;
  return `${Math.floor(whole / 3600)}h${two(Math.floor(whole / 60) % 60)}m`;
}

export const rate = (value) => (value >= 99.95 ? value.toFixed(0) : value.toFixed(1));

export function percent(part, whole) {
  if (!whole) return "–";
  const value = (part / whole) * 100;
  return `${value === 100 ? "100" : value.toFixed(value > 99.9 || value < 10 ? 2 : 1)} %`;
}

/** Of those that were let in, how many went well: a refused call counts as a success where it is counted. */
export const success = ({ count, successes, denied }) => percent(Math.max(0, successes - denied), count - denied);

const CLOCK = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
export const clock = (at) => CLOCK.format(at);

/** Says something that passes. */
export function toast(words, bad) {
  const told = h("p", { class: bad ? "toast bad" : "toast" }, words);
  $("toasts").append(told);
  setTimeout(() => told.remove(), bad ? 9000 : 4000);
}
