// The panel: what is drawn from the tree of OSCQuery, and what fingers and keys do.

import * as looks from "./looks.js";
import * as routes from "./routes.js";
import { at, connect, flip, hold, log, make, move, on, say, send, set, values, watch, watched, withToken } from "./show.js";

let show = null, learning = "", current = "", standby = "", waiting = "", absent = new Set(),
  disarmed = new Set();
const knobs = new Map();

// Knobs
function number(value, param) {
  const digits = param.type === "i" ? 0 : Math.abs(value) >= 100 ? 1 : 2;
  return value.toFixed(digits) + (param.unit ? " " + param.unit : "");
}
function row(param, label = param.id) {
  const learn = make("button", { className: "learn", textContent: "learn", title: "bind what you wiggle next" });
  learn.onclick = () => learning === param.id ? send("sys/learn", "cancel") : send("sys/learn", param.id);
  const shown = make("output"), name = make("span", { className: "name", title: param.help }, make("i"), label);
  const element = make("div", { className: "param" }, name, shown, learn);
  element.dataset.id = param.id; element.dataset.text = (param.id + " " + param.help).toLowerCase();
  if (param.type === "I") {
    const press = make("button", { className: "wide", textContent: param.help });
    press.onclick = () => send(param.path);
    element.append(press);
  } else if (param.type === "T") {
    const button = make("button", { className: "wide", textContent: "off" });
    button.onclick = () => flip(param.path);
    element.append(button);
    watch(param.path, value => { button.textContent = value > 0 ? "on" : "off"; button.classList.toggle("on", value > 0); });
  } else if (param.range) {
    const [low, high] = param.range, step = param.type === "i" ? 1 : (high - low) / 1000;
    const fader = make("input", { type: "range", min: low, max: high, step });
    fader.setAttribute("aria-label", param.id);
    const draw = value => {
      fader.style.setProperty("--at", 100 * (value - low) / (high - low) + "%"); shown.textContent = number(value, param);
    };
    fader.oninput = () => {
      const value = Number(fader.value);
      hold(param.path); values.set(param.path, value); draw(value); move(param.path, value);
    };
    element.append(fader);
    watch(param.path, value => { fader.value = value; draw(value); });
  }
  knobs.set(param.id, [...(knobs.get(param.id) || []), { element, learn }]);
  return element;
}
function paramsOf(tree) {
  const params = [];
  (function walk(node) {
    if (node.TYPE && (node.ACCESS & 2)) {
      const path = node.FULL_PATH.slice(show.prefix.length + 1), found = /^(.*) \((\w+)\)$/.exec(node.DESCRIPTION || "");
      const range = node.RANGE && [node.RANGE[0].MIN, node.RANGE[0].MAX];
      params.push({ path, id: path.replaceAll("/", "."), type: node.TYPE === "F" ? "T" : node.TYPE, range,
        help: found ? found[1] : node.DESCRIPTION || "", unit: found ? found[2] : "" });
      if (node.VALUE) values.set(path, Number(node.VALUE[0]));
    }
    for (const name in node.CONTENTS || {}) walk(node.CONTENTS[name]);
  })(tree);
  return params;
}
function build(tree) {
  const params = paramsOf(tree), byId = new Map(params.map(param => [param.id, param]));
  for (let n = 1; n <= 8; n++) if (byId.has("macro." + n)) at("macros").append(row(byId.get("macro." + n), String(n)));
  for (const id of ["out.dimmer", "latent.truncation", "routes.amount"]) if (byId.has(id)) at("output").append(row(byId.get(id)));
  buildGroups(params);
  routes.prepare(show, params.map(param => param.id));
  looks.prepare(row, byId);
  buildCues();
  for (const button of at("quantize").children) {
    const beats = Number(button.dataset.beats);
    button.onclick = () => { send("cue/quantize", beats); hold("cue/quantize"); set("cue/quantize", beats); };
  }
  watch("cue/quantize", value => {
    for (const button of at("quantize").children) button.classList.toggle("on", Number(button.dataset.beats) === value);
  });
  show.voices.forEach(buildMeters);
  for (const button of document.querySelectorAll("[data-press]")) button.onclick = () => send(button.dataset.press);
  for (const button of document.querySelectorAll("[data-switch]")) {
    button.onclick = () => flip(button.dataset.switch);
    watch(button.dataset.switch, value => button.classList.toggle("on", value > 0));
  }
  at("go").onclick = () => send("cue/go");
  at("tap").onpointerdown = () => send("transport/tap");
  watch("transport/bpm", value => { at("tempo").textContent = value.toFixed(1); });
  watch("transport/phase", value => { at("beat").style.opacity = Math.max(1 - 2.5 * value, .1); });
  watch("sys/fps", value => { at("fps").textContent = value.toFixed(1); });
  watch("sys/p99_ms", value => { at("p99").textContent = value.toFixed(1) + " ms"; });
  watch("sys/latency_ms", value => { at("latency").textContent = value > 0 ? value.toFixed(0) + " ms" : "-"; });
  watch("cue/wait", cuesChanged);
}
function buildCues() {
  at("cues").replaceChildren(...show.cues.map(cue => {
    const label = make("span", { textContent: cue.name || cue.id });
    const button = make("button", {}, label, make("small", { textContent: cue.notes || cue.id }));
    button.onclick = () => send("cue/load", cue.id); button.dataset.cue = cue.id;
    const arm = make("button", { className: "arm", textContent: "disarm" });
    arm.onclick = () => send(disarmed.has(cue.id) ? "cue/arm" : "cue/disarm", cue.id);
    return make("div", { className: "cue" }, button, arm);
  }));
}
function buildGroups(params) {
  const groups = new Map();
  for (const param of params) if (param.type !== "s" && !routes.isOfRoute(param.id)) {
    const group = param.id.split(".")[0]; groups.set(group, [...(groups.get(group) || []), param]);
  }
  for (const [group, members] of groups) {
    const details = make("details", {}, make("summary", { textContent: group }));
    details.ontoggle = () => { if (details.open && details.children.length === 1) details.append(...members.map(param => row(param))); };
    details.dataset.text = members.map(param => param.id + " " + param.help).join(" ").toLowerCase();
    at("groups").append(details);
  }
  at("search").oninput = () => {
    const wanted = at("search").value.trim().toLowerCase();
    for (const details of at("groups").children) {
      const fits = details.dataset.text.includes(wanted);
      details.hidden = !fits; if (wanted && fits) { details.open = true; details.ontoggle(); }
      for (const each of details.querySelectorAll(".param")) each.hidden = !each.dataset.text.includes(wanted);
    }
  };
}
function buildMeters(voice) {
  const grid = make("div", { className: "meters" }, make("span", { textContent: voice }));
  for (const band of ["all", "bass", "mid", "midhigh", "high"]) {
    const level = make("b"), hit = make("i"); grid.append(make("div", { className: "meter", title: band }, level, hit));
    watch(`audio/${voice}/${band}/level`, value => { level.style.transform = `scaleY(${Math.min(Math.max(value, 0), 1)})`; });
    watch(`audio/${voice}/${band}/hit`, value => { hit.style.opacity = value; });
  }
  const clip = make("span", { className: "clip", textContent: "clip" });
  watch(`audio/${voice}/peak`, value => clip.classList.toggle("on", value > -0.1));
  at("voices").append(grid, clip);
}

// Cues
function cuesChanged() {
  const named = id => { const cue = show.cues.find(each => each.id === id); return cue ? cue.name || cue.id : id; };
  for (const { children: [button, arm] } of at("cues").children) {
    const id = button.dataset.cue, isOut = disarmed.has(id);
    button.classList.toggle("on", id === current);
    button.classList.toggle("next", id === (waiting || standby));
    button.classList.toggle("out", isOut);
    button.firstChild.textContent = isOut ? `(${named(id)})` : named(id);
    arm.textContent = isOut ? "arm" : "disarm";
    arm.setAttribute("aria-label", `${arm.textContent} ${named(id)}`);
  }
  const beats = Math.ceil(values.get("cue/wait") || 0);
  const isAbsent = absent.has(waiting || standby);
  at("standby").textContent = waiting && isAbsent ? `${named(waiting)} begins as soon as its species is ready`
    : waiting ? `${named(waiting)} begins in ${beats} beat${beats === 1 ? "" : "s"}`
    : standby ? "next: " + named(standby) + (isAbsent ? ", not ready yet" : "") : "the last cue";
  at("go").classList.toggle("on", !!waiting);
}
on("cue/current", id => { current = id; cuesChanged(); });
on("cue/absent", ids => { absent = new Set(ids.split("\n").filter(Boolean)); cuesChanged(); });
on("cue/standby", id => { standby = id; cuesChanged(); });
on("cue/waiting", id => { waiting = id; cuesChanged(); });
on("cue/disarmed", ids => { disarmed = new Set(ids.split("\n").filter(Boolean)); cuesChanged(); });

// The setlist was edited, and the show plays it as it is now.
on("sys/setlist", async () => {
  try {
    show = await (await fetch("/panel.json" + withToken)).json();
    at("name").textContent = document.title = show.name;
    buildCues(); cuesChanged(); routes.renew(); looks.renew();
  } catch { location.reload(); }
});

// What is told in words
on("transport/leader", text => { at("leader").textContent = text; });
on("sys/engine", text => { at("engine").textContent = text; });
on("sys/state", text => { at("state").textContent = text; at("state").hidden = text === "playing" || !text; });
on("sys/log", text => { if (text) log(text); });
on("sys/error", text => { if (text) log("refused: " + text, true); });
on("sys/refused", text => { say(text, { isBad: true }); routes.refused(); });
on("sys/lead", id => {
  for (const { element } of knobs.get(id) || []) {
    element.classList.add("driven"); clearTimeout(element.timer);
    element.timer = setTimeout(() => element.classList.remove("driven"), 3000);
  }
});
on("sys/learning", id => { mark(learning, false); learning = id; mark(id, true); });
on("sys/bound", (address, id) => { mark(learning, false); learning = ""; log(`${address} moves ${id}`); });
function mark(id, isOn) {
  for (const { learn } of knobs.get(id) || []) { learn.classList.toggle("on", isOn); learn.textContent = isOn ? "wiggle …" : "learn"; }
}

// What the audience sees: each picture is asked for when the one before has come, so that a slow phone asks less often.
async function watchProgramme() {
  const canvas = at("preview"), pen = canvas.getContext("2d");
  let serial = "";
  for (;;) {
    if (document.hidden || !at("programme").open || !document.body.classList.contains("connected")) {
      await new Promise(done => setTimeout(done, 300)); continue;
    }
    try {
      const answer = await fetch("/preview.jpg" + (serial ? "?after=" + serial : ""));
      if (answer.status === 200) {
        serial = answer.headers.get("X-Serial");
        const picture = await createImageBitmap(await answer.blob());
        if (canvas.width !== picture.width || canvas.height !== picture.height) Object.assign(canvas, { width: picture.width, height: picture.height });
        pen.drawImage(picture, 0, 0);
        picture.close();
        canvas.dataset.serial = serial;
      } else if (answer.status === 204) {
        if (!serial) await new Promise(done => setTimeout(done, 300));
      } else throw new Error(String(answer.status));
    } catch { serial = ""; await new Promise(done => setTimeout(done, 1000)); }
  }
}

const KEYS = { " ": "cue/go", ArrowRight: "cue/go", ArrowLeft: "cue/prev", ArrowDown: "cue/next", p: "cue/panic", t: "transport/tap" };
document.addEventListener("keydown", event => {
  const typed = ["search", "text"].includes(event.target.type) || event.target.tagName === "SELECT";
  if (!typed && (event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z") {
    event.preventDefault(); send(event.shiftKey ? "sys/redo" : "sys/undo");
  }
  if (typed || event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.type === "range" && event.key.startsWith("Arrow")) return;
  if (KEYS[event.key]) { event.preventDefault(); send(KEYS[event.key]); }
  if (event.key === "b") flip("out/blackout");
  if (event.key === "f") flip("out/freeze");
});

async function begin() {
  try {
    show = await (await fetch("/panel.json" + withToken)).json();
    const tree = await (await fetch(show.prefix, { headers: { Accept: "application/json" } })).json();
    at("name").textContent = document.title = show.name;
    document.body.classList.toggle("readonly", !show.may_write);
    build(tree);
    // Of what is heard, a thousand numbers a second, only what has a meter here; of everything else, all.
    const others = Object.keys(tree.CONTENTS).filter(name => name !== "audio");
    connect(show.prefix, () => [...others, ...watched().filter(path => path.startsWith("audio/"))], () => { routes.renew(); looks.renew(); });
    watchProgramme();
  } catch (error) { console.warn(error); setTimeout(begin, 1000); }
}
begin();
