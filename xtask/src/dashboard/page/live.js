// The one stream of events from `up`: heard, lost and found again.

const SILENCE = 7000;

const listeners = new Map();
let token = "";
let run = "";
let page = "";
let heard = 0;
let source = null;
let state = "connecting";

/** Calls `then` with what comes under this name: hello, plan, status, traffic, policies, happened, lines, state. */
export function on(name, then) {
  listeners.set(name, [...(listeners.get(name) || []), then]);
}

function tell(name, value) {
  for (const then of listeners.get(name) || []) then(value);
}

function become(next) {
  if (state !== next) {
    state = next;
    tell("state", { state, heard });
  }
}

function open() {
  if (source) source.close();
  source = new EventSource("/live");
  source.onerror = () => {
    become("stale");
    // The browser tries again by itself, unless what answered was no stream.
    if (source.readyState === EventSource.CLOSED) setTimeout(open, 1500);
  };
  for (const name of ["hello", "plan", "status", "traffic", "policies", "happened", "lines", "beat"]) {
    source.addEventListener(name, (event) => {
      heard = Date.now();
      const value = JSON.parse(event.data);
      if (name === "hello") {
        // Served by another version: this page may not understand it.
        if (page && page !== value.page) return location.reload();
        page = value.page;
        value.again = run !== "";
        value.restarted = run !== "" && run !== value.run;
        ({ token, run } = value);
      }
      become("live");
      tell(name, value);
    });
  }
}

export function start() {
  open();
  setInterval(() => {
    if (heard && Date.now() - heard > SILENCE) {
      become("stale");
      if (Date.now() - heard > 3 * SILENCE) {
        heard = Date.now() - SILENCE - 1;
        open();
      }
    }
    if (state === "stale") tell("state", { state, heard });
  }, 1000);
}

/** Has something done. Gives what is said of it; throws what went wrong, in words. */
export async function act(what, body) {
  let answer;
  try {
    answer = await fetch(`/actions/${what}`, {
      method: "POST",
      headers: { "content-type": "application/json", "x-dashboard-token": token },
      body: JSON.stringify(body),
    });
  } catch {
    throw new Error("up does not answer");
  }
  const json = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error([json.error || answer.statusText, json.hint].filter(Boolean).join(": "));
  return json.done;
}

/** Reads something. */
export async function ask(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
}
