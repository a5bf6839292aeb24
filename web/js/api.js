// Talking to the API: calls, the stream of alerts, the socket of new windows. Both links come back
// by themselves, and say at any time how they are.

/** The token is missing or not known. */
export class SignInNeeded extends Error {}

/** A call that failed, with the server's own words where it had any. */
export class CallFailed extends Error {}

/** GETs JSON. */
export async function get(path, params = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    if (value !== undefined && value !== null && value !== "") query.set(name, value);
  }
  const address = query.size ? `${path}?${query}` : path;
  let answer;
  try {
    answer = await fetch(address, { headers: { Accept: "application/json" } });
  } catch {
    throw new CallFailed("the API cannot be reached");
  }
  if (answer.status === 401) throw new SignInNeeded();
  // Readiness says what is wrong with status 503: that is an answer, too.
  if (!answer.ok && !(answer.status === 503 && path === "/health/ready")) {
    const problem = await answer.json().catch(() => null);
    throw new CallFailed(problem?.detail ?? `the API answered ${answer.status}`);
  }
  return answer.json();
}

export const windows = (key, params) =>
  get(`/api/v1/series/${encodeURIComponent(key)}/windows`, params);
export const findings = (key, params) =>
  get(`/api/v1/series/${encodeURIComponent(key)}/findings`, params);
export const alert = (id) => get(`/api/v1/alerts/${encodeURIComponent(id)}`);

/** Moves a token into this browser's cookie; false if it is not known. */
export async function signIn(token) {
  const headers = { Authorization: `Bearer ${token}` };
  const answer = await fetch("/api/v1/session", { method: "POST", headers });
  return answer.ok;
}

export const signOut = () => fetch("/api/v1/session", { method: "DELETE" });

/** Delays between tries to come back, in ms. */
const DELAYS = [500, 1000, 2000, 5000];

/**
 * The stream of alerts. `on`: { snapshot, alert, state }, where state is live or lost. The browser
 * itself resumes a broken stream; one that the server refuses is opened anew with the last id.
 */
export function followAlerts(on) {
  let last = "";
  let tries = 0;
  const open = () => {
    const source = new EventSource(
      `/api/v1/alerts/stream${last ? `?last_event_id=${encodeURIComponent(last)}` : ""}`,
    );
    const take = (handle) => (event) => {
      last = event.lastEventId || last;
      tries = 0;
      on.state("live");
      handle?.(JSON.parse(event.data));
    };
    source.addEventListener("snapshot", take(on.snapshot));
    source.addEventListener("resumed", take());
    source.addEventListener("alert", take(on.alert));
    source.addEventListener("error", () => {
      on.state("lost");
      if (source.readyState !== EventSource.CLOSED) return;
      setTimeout(open, DELAYS[Math.min(tries++, DELAYS.length - 1)]);
    });
  };
  open();
}

const PING_MS = 15_000;

/** The socket of new windows; `onReading` gets each. Returns `watch(keys)`, which replaces the set. */
export function followReadings(onReading) {
  let socket;
  let heard = 0;
  let tries = 0;
  let wanted = new Set();
  const say = (message) => {
    if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
  };
  const open = () => {
    socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws/metrics`);
    socket.addEventListener("open", () => {
      tries = 0;
      heard = Date.now();
      if (wanted.size) say({ type: "subscribe", series: [...wanted] });
    });
    socket.addEventListener("message", (event) => {
      heard = Date.now();
      const message = JSON.parse(event.data);
      if (message.type === "metric_update") onReading(message.data);
    });
    socket.addEventListener("close", () => {
      setTimeout(open, DELAYS[Math.min(tries++, DELAYS.length - 1)]);
    });
  };
  setInterval(() => {
    if (Date.now() - heard > 3 * PING_MS) socket.close();
    else say({ type: "ping" });
  }, PING_MS);
  open();
  return (keys) => {
    const next = new Set(keys);
    const gone = [...wanted].filter((key) => !next.has(key));
    const fresh = [...next].filter((key) => !wanted.has(key));
    wanted = next;
    if (gone.length) say({ type: "unsubscribe", series: gone });
    if (fresh.length) say({ type: "subscribe", series: fresh });
  };
}
