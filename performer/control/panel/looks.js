// Looks: presets to touch, the morph between two, surprises, undo and redo.

import { at, hold, make, on, say, send, set, watch } from "./show.js";

const LONG_MS = 550;  // a finger that stays so long asks for the menu
const presets = new Map();  // by name: { number, button }
let current = "", opened = "";

function built(name, number) {
  const button = make("button", { title: "touch: glide to it; hold: more" }, make("span", { textContent: name }), make("small"));
  button.dataset.preset = name;
  let timer = 0, isLong = false;
  const end = () => clearTimeout(timer);
  button.onpointerdown = () => { isLong = false; timer = setTimeout(() => { isLong = true; open(name); }, LONG_MS); };
  button.onpointerup = button.onpointerleave = button.onpointercancel = end;
  button.oncontextmenu = event => { event.preventDefault(); end(); isLong = true; open(name); };
  button.onclick = () => { if (!isLong) { close(); send("preset/load", name); } isLong = false; };
  presets.set(name, { number, button });
  const later = [...presets.values()].filter(each => each.number > number).sort((a, b) => a.number - b.number)[0];
  at("presets").insertBefore(button, later ? later.button : null);
  mark();
}
function removed(name) {
  const preset = presets.get(name);
  if (!preset) return;
  preset.button.remove();
  presets.delete(name);
  if (opened === name) close();
}
/** What each is: the one that was glided to, and the ends of the morph. */
function mark() {
  for (const [name, { number, button }] of presets) {
    button.classList.toggle("on", name === current);
    button.classList.toggle("open", name === opened);
    if (name === opened) for (const end of ["a", "b"]) at("preset-" + end).classList.toggle("on", ends[end] === number);
    button.lastChild.textContent = [ends.a === number ? "A" : "", ends.b === number ? "B" : ""].filter(Boolean).join(" ");
  }
}
const ends = { a: 0, b: 0 };
function choose(end) {
  const { number } = presets.get(opened), path = "preset/" + end;
  send(path, ends[end] === number ? 0 : number);
  hold(path); set(path, ends[end] === number ? 0 : number);
}

// The menu of one
function open(name) {
  opened = opened === name ? "" : name;
  at("preset-menu").hidden = !opened;
  if (opened) at("preset-opened").textContent = name;
  mark();
}
function close() { if (opened) open(opened); }

/** Build it. row(param): a fader with its name. byId: parameters by their ids. */
export function prepare(row, byId) {
  for (const [id, label] of [["preset.morph", "A to B"], ["preset.time", "time"], ["preset.wildness", "wild"]]) {
    if (byId.has(id)) at("preset-knobs").append(row(byId.get(id), label));
  }
  for (const end of ["a", "b"]) {
    watch("preset/" + end, value => { ends[end] = value; mark(); });
    at("preset-" + end).onclick = () => choose(end);
  }
  at("preset-over").onclick = () => { send("sys/preset/save", opened); close(); };
  at("preset-remove").onclick = () => send("sys/preset/remove", opened);
  const save = () => {
    const name = at("preset-name").value.trim();
    if (!name) { say("name the look first", { isBad: true }); at("preset-name").focus(); return; }
    send("sys/preset/save", name);
    at("preset-name").value = "";
    at("preset-name").blur();
  };
  at("preset-save").onclick = save;
  at("preset-name").onkeydown = event => { if (event.key === "Enter") save(); };
  at("surprise").onclick = () => send("preset/surprise");
  at("undo").onclick = () => send("sys/undo");
  at("redo").onclick = () => send("sys/redo");
  on("sys/preset", (name, number) => presets.has(name) || built(name, number));
  on("sys/preset/removed", removed);
  on("preset/current", name => { current = name; mark(); });
  on("sys/undone", text => say("taken back: " + text));
  on("sys/redone", text => say("done again: " + text));
}
/** The connection is there, perhaps again. */
export function renew() {
  for (const name of [...presets.keys()]) removed(name);
  send("sys/presets");
}
