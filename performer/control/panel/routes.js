// The routes: meters, mute, solo, amount, and an editor for each.

import { at, flip, hold, make, move, on, say, send, set, unwatch, watch } from "./show.js";

const PAIRS = ["gate", "in", "out"];
const routes = new Map();  // by name: { words, element }
let choices = { curves: [], modes: [] }, isAdding = false;

/** `sys/route` as an object: its name, its cue, then keys and values; pairs as arrays. */
function parsed(name, args) {
  const words = { name };
  for (let index = 0; index < args.length;) {
    const key = args[index++];
    words[key] = PAIRS.includes(key) ? [args[index++], args[index++]] : args[index++];
  }
  return words;
}
const short = value => String(Number(value.toPrecision(5)));

function draw(name, args) {
  const words = parsed(name, args), there = routes.get(name);
  if (there) {
    there.words = words;
    describe(there);
    if (there.editor) fill(there);
    return;
  }
  const route = { words, editor: null };
  route.element = built(route);
  routes.set(name, route);
  describe(route);
  at("routes").append(route.element);
  if (isAdding) { isAdding = false; toggle(route); route.element.scrollIntoView({ block: "nearest" }); }
}
function describe(route) {
  const { words, title } = route;
  title.replaceChildren(
    make("b", { textContent: words.name + (words.cue ? ` (cue ${words.cue})` : "") }),
    make("small", { textContent: `${words.from} → ${words.to}` }),
  );
}
function built(route) {
  const name = route.words.name;
  const mute = make("button", { className: "mute", textContent: "M", title: "mute" });
  const solo = make("button", { className: "solo", textContent: "S", title: "solo" });
  mute.setAttribute("aria-label", `mute ${name}`); solo.setAttribute("aria-label", `solo ${name}`);
  mute.onclick = () => flip(`mute/${name}`);
  solo.onclick = () => flip(`solo/${name}`);
  route.title = make("button", { className: "title" });
  route.title.onclick = () => toggle(route);
  const shown = make("output"), before = make("b"), after = make("b");
  const fader = make("input", { type: "range", min: 0, max: 2, step: 0.002 });
  fader.setAttribute("aria-label", `route.${name}`);
  const element = make("div", { className: "route" },
    make("div", { className: "head" }, mute, solo, route.title, shown),
    make("div", { className: "bars" }, make("div", { className: "bar in", title: "before" }, before),
      make("div", { className: "bar out", title: "after" }, after)),
    fader);
  element.dataset.route = name;
  const drawFader = value => { fader.style.setProperty("--at", 50 * value + "%"); shown.textContent = value.toFixed(2); };
  fader.oninput = () => {
    const value = Number(fader.value);
    hold(`route/${name}`); set(`route/${name}`, value); move(`route/${name}`, value);
  };
  watch(`route/${name}`, value => { if (document.activeElement !== fader || Number(fader.value) !== value) fader.value = value; drawFader(value); });
  watch(`mute/${name}`, value => { mute.classList.toggle("on", value > 0); element.classList.toggle("silent", value > 0); });
  watch(`solo/${name}`, value => solo.classList.toggle("on", value > 0));
  watch(`meter/${name}/in`, value => { before.style.transform = `scaleX(${value})`; });
  watch(`meter/${name}/out`, value => { after.style.transform = `scaleX(${Math.sign(value) * Math.sqrt(Math.abs(value))})`; });
  return element;
}
function removed(name) {
  const route = routes.get(name);
  if (!route) return;
  route.element.remove();
  for (const path of [`route/${name}`, `mute/${name}`, `solo/${name}`, `meter/${name}/in`, `meter/${name}/out`]) unwatch(path);
  routes.delete(name);
}

// One route's keys
function toggle(route) {
  if (route.editor) { route.editor.remove(); route.editor = null; return; }
  const name = route.words.name, change = (key, ...what) => send("sys/route/set", name, key, ...what);
  const editor = make("div", { className: "edit" });
  route.fields = {};
  const label = text => editor.append(make("label", { textContent: text }));
  const text = (key, list, hint = "") => {
    label(key);
    const field = make("input", { className: "whole", autocomplete: "off", placeholder: hint });
    field.setAttribute("list", list); field.setAttribute("aria-label", `${name} ${key}`);
    field.onchange = () => change(key, field.value.trim());
    editor.append(field); route.fields[key] = [field];
  };
  const numbers = (key, count) => {
    label(key);
    const fields = Array.from({ length: count }, (_, index) => {
      const field = make("input", { type: "text", inputMode: "decimal", className: count === 1 ? "whole" : "" });
      field.setAttribute("aria-label", `${name} ${key}${count > 1 ? " " + (index + 1) : ""}`);
      return field;
    });
    for (const field of fields) field.onchange = () => {
      const found = fields.map(each => Number(each.value.replace(",", ".")));
      if (fields.some(each => !each.value.trim()) || found.some(Number.isNaN)) { say(`${key}: expected a number`, { isBad: true }); fill(route); return; }
      change(key, ...found);
    };
    editor.append(...fields); route.fields[key] = fields;
  };
  const choice = (key, all) => {
    label(key);
    const field = make("select", { className: "whole" }, ...all.map(each => make("option", { value: each, textContent: each })));
    field.setAttribute("aria-label", `${name} ${key}`);
    field.onchange = () => change(key, field.value);
    editor.append(field); route.fields[key] = [field];
  };
  text("from", "sources"); text("to", "targets"); numbers("amount", 1);
  numbers("attack", 1); numbers("release", 1); numbers("ring", 1);
  text("hold", "holds", "never"); numbers("gate", 2); numbers("in", 2); numbers("out", 2);
  choice("curve", choices.curves); choice("mode", choices.modes);
  label("invert");
  const invert = make("input", { type: "checkbox" });
  invert.setAttribute("aria-label", `${name} invert`);
  invert.onchange = () => change("invert", invert.checked ? 1 : 0);
  editor.append(invert); route.fields.invert = [invert];
  const remove = make("button", { className: "remove", textContent: `Remove ${name}` });
  remove.onclick = () => send("sys/route/remove", name);
  editor.append(remove);
  route.editor = editor; route.element.append(editor);
  fill(route);
}
function fill({ words, fields }) {
  for (const [key, inputs] of Object.entries(fields)) {
    const told = [].concat(words[key]);
    inputs.forEach((input, index) => {
      if (input.type === "checkbox") input.checked = told[index] > 0;
      else input.value = typeof told[index] === "number" ? short(told[index]) : told[index];
    });
  }
}

/** Build what there is to choose from. about: what the page was told beforehand; targets: ids of parameters. */
export function prepare(about, targets) {
  choices = about;
  at("sources").append(...about.sources.map(value => make("option", { value })));
  at("targets").append(...targets.map(value => make("option", { value })));
  const struck = about.sources.filter(name => /\.(hit|onset|kick|snare|hat)$/.test(name));
  at("holds").append(...["beat", "bar", "2 beats", "2 bars", "4 bars", ...struck].map(value => make("option", { value })));
  at("route-add").onclick = () => {
    isAdding = true;
    send("sys/route/add", about.sources.find(name => name.endsWith("bass.level")) || "lfo.1", "latent.coarse", "amount", 0.5);
  };
  at("route-undo").onclick = () => send("sys/route/undo");
  at("save").onclick = () => send("sys/save");
  on("sys/route", (name, ...args) => draw(name, args));
  on("sys/route/removed", removed);
  on("sys/saved", name => say(`saved in ${name}`));
}
/** The connection is there, perhaps again: whatever the page knew of routes may have changed. */
export function renew() {
  for (const name of [...routes.keys()]) removed(name);
  send("sys/routes");
}
/** What was sent was refused: the fields show again what is. */
export function refused() {
  isAdding = false;
  for (const route of routes.values()) if (route.editor) fill(route);
}
/** Whether a parameter is a knob of a route, which has its place here. */
export const isOfRoute = id => /^(route|mute|solo)\./.test(id);
