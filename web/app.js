// The page: keeps what is known, routes by the address' hash, and lets each part draw itself.
import { CallFailed, SignInNeeded, alert as getAlert, followAlerts, followReadings, get, signIn, signOut } from "./js/api.js";
import { AlertList, announce } from "./js/alerts.js";
import { Cards, pick } from "./js/cards.js";
import { Detail } from "./js/detail.js";
import { $, text } from "./js/dom.js";
import { clockTime, learnKinds, serverNow, setServerTime, utc } from "./js/format.js";
import { showLag, showOpen, showOverview, showParts, showPartsUnknown } from "./js/pulse.js";

const OVERVIEW_MS = 5_000;
const HEALTH_MS = 10_000;
const PICK_MS = 60_000;
const SEARCH_MS = 250;

const alerts = new AlertList();
const cards = new Cards(alerts);
const detail = new Detail(alerts);
let busiest = [];
let picked = 0;
let watch = () => {};
let lostAt = null;
let following = false;

// Connection

function setLink(state) {
  const words = { live: "Live", lost: "Reconnecting", connecting: "Connecting" };
  $("link").dataset.state = state;
  document.body.classList.toggle("stale", state === "lost");
  text($("link-text"), words[state]);
  if (state === "live") {
    if (lostAt !== null) cards.reload();
    lostAt = null;
  } else {
    lostAt ??= serverNow();
  }
  showBanner(state === "lost" ? `The connection is lost. This is what was known at ${clockTime(lostAt)}; trying again.` : "");
}

function showBanner(words) {
  $("banner").hidden = !words;
  text($("banner"), words);
}

/** Does something with the API; asks for a token, or says what failed. */
async function guarded(work) {
  try {
    return await work();
  } catch (error) {
    if (error instanceof SignInNeeded) askToken();
    else if (error instanceof CallFailed) showBanner(`${error.message}. Trying again.`);
    else throw error;
  }
  return undefined;
}

function askToken() {
  if (!$("sign-in").open) $("sign-in").showModal();
}

// Private browsing keeps nothing; the page then only forgets a little more.

function remember(name, what) {
  try {
    localStorage.setItem(`backbeat-${name}`, what);
  } catch {
    // Not kept.
  }
}

function recall(name) {
  try {
    return localStorage.getItem(`backbeat-${name}`);
  } catch {
    return null;
  }
}

// What is shown

async function refreshOverview() {
  const overview = await guarded(() => get("/api/v1/overview"));
  if (!overview) return;
  if (lostAt === null) showBanner("");
  setServerTime(overview.now);
  text($("tenant"), overview.tenant);
  $("tenant").hidden = false;
  learnKinds(overview.series);
  busiest = overview.series;
  showOverview(overview);
  start();
  const missing = cards.keys.length === 0 || Date.now() - picked > PICK_MS;
  if (missing && !cards.query) await showBusiest();
}

async function showBusiest() {
  picked = Date.now();
  await cards.show(pick(busiest, alerts.firing));
  watchShown();
}

function watchShown() {
  watch(detail.key ? [...cards.keys, detail.key] : cards.keys);
}

async function refreshHealth() {
  try {
    showParts(await get("/health/ready"));
  } catch {
    showPartsUnknown();
  }
}

/** All alerts that the page can show, as the store knows them. */
async function refreshAlerts() {
  const found = await guarded(() => get("/api/v1/alerts", { stream: "live", limit: 100 }));
  for (const alert of found?.items ?? []) alerts.take(alert);
  renderAlerts();
}

function renderAlerts() {
  alerts.render();
  showCounts();
}

function showCounts() {
  if (alerts.ready) showOpen(alerts.speaking);
}

// The stream

function onAlert(alert) {
  const news = alerts.take(alert);
  renderAlerts();
  cards.mark(alert);
  if (news && !alert.parent) announce(alert);
  if (news && alert.state === "firing" && !cards.query && !cards.keys.includes(alert.series)) showAlarmed(alert);
  if (detail.shown === alert.id) detail.alert(alert.id);
}

/** Brings the series of a new alert among the charts. */
async function showAlarmed(alert) {
  if (!busiest.some((s) => s.key === alert.series)) {
    const found = await guarded(() => get("/api/v1/series", { q: alert.series, stream: alert.stream, limit: 20 }));
    const series = found?.items.find((s) => s.key === alert.series);
    if (!series) return;
    busiest = [...busiest, series];
  }
  await showBusiest();
}

async function onSnapshot(snapshot) {
  const firing = new Set(snapshot.alerts.map((a) => a.id));
  for (const alert of snapshot.alerts) alerts.take(alert);
  alerts.ready = true;
  await refreshAlerts();
  // What the page took for firing and the snapshot does not has changed while nobody listened.
  const doubtful = snapshot.truncated ? [] : alerts.firing.filter((a) => !firing.has(a.id));
  for (const { id } of doubtful.slice(0, 20)) {
    const found = await getAlert(id).catch(() => null);
    if (found) alerts.take(found.alert);
  }
  renderAlerts();
  await showBusiest();
}

function start() {
  if (following) return;
  following = true;
  followAlerts({ snapshot: onSnapshot, alert: onAlert, state: setLink });
  watch = followReadings((reading) => {
    cards.reading(reading);
    detail.reading(reading);
  });
}

// Navigation

function route() {
  const [kind, ...rest] = location.hash.slice(1).split("/");
  const id = decodeURIComponent(rest.join("/"));
  alerts.selected = kind === "alert" ? id : null;
  alerts.render();
  const shows = (kind === "alert" || kind === "series") && id;
  $("overview").hidden = Boolean(shows);
  document.body.classList.toggle("detailed", Boolean(shows));
  if (!shows) {
    detail.close();
    cards.redraw();
  } else if (kind === "alert") guarded(() => detail.alert(id));
  else guarded(() => detail.series(id, cards.span));
  if (shows) scrollTo({ top: 0 });
  watchShown();
}

function choose(group, button) {
  for (const other of group.querySelectorAll("button")) other.setAttribute("aria-pressed", String(other === button));
}

for (const button of document.querySelectorAll("[data-show]")) {
  button.addEventListener("click", () => {
    choose(button.parentElement, button);
    alerts.show = button.dataset.show;
    alerts.render();
  });
}

for (const button of document.querySelectorAll("[data-span]")) {
  button.addEventListener("click", () => {
    choose(button.parentElement, button);
    cards.span = Number(button.dataset.span) * 1000;
    guarded(() => cards.reload());
  });
}

let searching = 0;
$("search").addEventListener("input", () => {
  clearTimeout(searching);
  searching = setTimeout(() => guarded(async () => {
    const query = $("search").value.trim();
    text($("series-title"), query ? "Found series" : "Busiest series");
    if (!query) {
      cards.query = "";
      await showBusiest();
      return;
    }
    await cards.show(await cards.find(query));
    watchShown();
  }), SEARCH_MS);
});

$("sign-in-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const known = await signIn($("token").value.trim());
  $("sign-in-wrong").hidden = known;
  if (!known) return;
  $("token").value = "";
  $("sign-in").close();
  remember("signed-in", "yes");
  $("sign-out").hidden = false;
  await refreshOverview();
});
$("sign-in").addEventListener("cancel", (event) => event.preventDefault());
$("sign-out").addEventListener("click", async () => {
  await signOut();
  remember("signed-in", "");
  location.reload();
});
$("sign-out").hidden = !recall("signed-in");

addEventListener("hashchange", route);
addEventListener("themechange", () => {
  cards.redraw();
  detail.redraw();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && document.body.classList.contains("detailed")) location.hash = "";
});

// Time

function tick() {
  const now = serverNow();
  text($("clock"), clockTime(now));
  $("clock").title = utc(now);
  $("clock").dateTime = new Date(now).toISOString();
  showLag();
  showCounts();
  alerts.tick();
}

/** Repeats work while the page is looked at, and once more when it is looked at again. */
function repeat(work, every) {
  const run = () => document.hidden || work();
  setInterval(run, every);
  document.addEventListener("visibilitychange", run);
  return work();
}

setInterval(tick, 1000);
tick();
route();
repeat(refreshOverview, OVERVIEW_MS);
repeat(refreshHealth, HEALTH_MS);
