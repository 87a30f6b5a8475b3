// The show, as the page knows it: values, who watches them, and the connection.

import { packed, unpacked } from "./osc.js";

const DRAW_MS = 60;  // between two drawings of what the show says
const HOLD_MS = 600;  // so long after a finger moved something, what the show says of it is not drawn
const token = new URLSearchParams(location.search).get("token") || "";

export const withToken = token ? "?token=" + encodeURIComponent(token) : "";
export const at = id => document.getElementById(id);
export function make(kind, props = {}, ...children) {
  const element = Object.assign(document.createElement(kind), props);
  element.append(...children);
  return element;
}

export const values = new Map();  // by path, the address without its prefix
const watchers = new Map(), texts = new Map(), held = new Map(), waiting = new Map(), told = new Map();
let prefix = "/perf", socket = null, retryMs = 500, isFlushing = false;

/** Call `draw(value)` now and whenever the number at `path` changes. */
export function watch(path, draw) {
  watchers.set(path, [...(watchers.get(path) || []), draw]);
  if (values.has(path)) draw(values.get(path));
}
/** Nobody watches `path` any more. */
export function unwatch(path) { watchers.delete(path); }
/** Call `hear(...args)` for each message to `path`. */
export function on(path, hear) { texts.set(path, hear); }

export function set(path, value) {
  values.set(path, value);
  for (const draw of watchers.get(path) || []) draw(value);
}
/** A finger has moved it: what the show still says of it is not drawn for a moment. */
export function hold(path) { held.set(path, performance.now()); }

export function send(path, ...args) {
  if (socket && socket.readyState === 1) socket.send(packed(prefix + "/" + path, ...args));
}
/** The newest value of each, once a frame: a finger is faster than the show. */
export function move(path, value) {
  waiting.set(path, value);
  if (isFlushing) return;
  isFlushing = true;
  requestAnimationFrame(() => {
    isFlushing = false;
    for (const [each, newest] of waiting) send(each, newest);
    waiting.clear();
  });
}
export function flip(path) {
  const to = values.get(path) > 0 ? 0 : 1;
  send(path, to); hold(path); set(path, to);
}

function received([address, args]) {
  const path = address.slice(prefix.length + 1);
  if (texts.has(path)) return texts.get(path)(...args);
  if (typeof args[0] !== "number" || performance.now() - (held.get(path) ?? -1e9) < HOLD_MS) return;
  if (!told.size) setTimeout(() => requestAnimationFrame(drawTold), DRAW_MS);
  told.set(path, args[0]);
}
/** All that was told since the last time, at once: each drawing costs the phone a picture of the whole page. */
function drawTold() {
  const all = [...told];
  told.clear();
  for (const [path, value] of all) set(path, value);
}

/** The paths that somebody watches. */
export const watched = () => [...watchers.keys()];

/** Connect, and again whenever the connection is lost; listen to `paths()` each time, and then call `opened`. */
export function connect(toPrefix, paths, opened) {
  prefix = toPrefix;
  socket = new WebSocket((location.protocol === "https:" ? "wss://" : "ws://") + location.host + "/" + withToken);
  socket.binaryType = "arraybuffer";
  socket.onopen = () => {
    retryMs = 500;
    document.body.classList.add("connected");
    for (const path of paths()) socket.send(JSON.stringify({ COMMAND: "LISTEN", DATA: prefix + "/" + path }));
    opened();
  };
  socket.onmessage = event => received(unpacked(event.data));
  socket.onclose = () => {
    document.body.classList.remove("connected");
    setTimeout(() => connect(toPrefix, paths, opened), retryMs);
    retryMs = Math.min(2 * retryMs, 5000);
  };
}

let toastTimer = 0;
/** Say something to who holds the phone, and keep it in the log. */
export function say(text, { isBad = false } = {}) {
  log(text, isBad);
  const toast = at("toast");
  toast.textContent = text;
  toast.hidden = false;
  toast.classList.toggle("bad", isBad);
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => { toast.hidden = true; }, isBad ? 6000 : 2500);
}
export function log(text, isBad = false) {
  const line = make("li", { textContent: new Date().toLocaleTimeString() + "  " + text });
  line.classList.toggle("bad", isBad);
  at("log").prepend(line);
  if (at("log").children.length > 50) at("log").lastChild.remove();
}
