// OSC 1.0 messages, as they travel in binary frames of the WebSocket.

const encoder = new TextEncoder(), decoder = new TextDecoder();

function padded(text) {
  const bytes = encoder.encode(text), out = new Uint8Array((bytes.length + 4) & ~3);
  out.set(bytes);
  return out;
}

/** A message: strings are sent as `s`, all else as `f`. */
export function packed(address, ...args) {
  let tags = ",";
  const parts = args.map(arg => {
    if (typeof arg === "string") { tags += "s"; return padded(arg); }
    tags += "f";
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setFloat32(0, arg);
    return bytes;
  });
  const all = [padded(address), padded(tags), ...parts];
  const whole = new Uint8Array(all.reduce((sum, part) => sum + part.length, 0));
  let offset = 0;
  for (const part of all) { whole.set(part, offset); offset += part.length; }
  return whole;
}

/** [address, args] of a message; switches are 1 and 0. */
export function unpacked(buffer) {
  const bytes = new Uint8Array(buffer), view = new DataView(buffer);
  let offset = 0;
  const text = () => {
    const end = bytes.indexOf(0, offset), found = decoder.decode(bytes.subarray(offset, end));
    offset = (end + 4) & ~3;
    return found;
  };
  const address = text(), args = [];
  for (const tag of text().slice(1)) {
    if (tag === "f") { args.push(view.getFloat32(offset)); offset += 4; }
    else if (tag === "i") { args.push(view.getInt32(offset)); offset += 4; }
    else if (tag === "s") args.push(text());
    else if (tag === "T" || tag === "F") args.push(tag === "T" ? 1 : 0);
    else args.push(null);
  }
  return [address, args];
}
