// An OSC client with osc.js, steered by lines of JSON.
//
// In:  a packet as osc.js takes it, {address, args} or {timeTag, packets}; of a bundle, `timeTag` is in seconds from now.
// Out: {port} once it is there, then a message for each line, {address, args}, with the types of the arguments.
"use strict";

const osc = require("osc");
const readline = require("readline");

const say = (what) => process.stdout.write(JSON.stringify(what) + "\n");

function dated(packet) {
  if (packet.packets === undefined) {
    return packet;
  }
  return { timeTag: osc.timeTag(packet.timeTag), packets: packet.packets.map(dated) };
}

const port = new osc.UDPPort({
  localAddress: "127.0.0.1",
  localPort: 0,
  remoteAddress: "127.0.0.1",
  remotePort: Number(process.argv[2]),
  metadata: true,
});
port.on("ready", () => say({ port: port.socket.address().port }));
port.on("message", (message) => say(message));
port.on("error", (error) => say({ error: String(error) }));
port.open();

readline
  .createInterface({ input: process.stdin })
  .on("line", (line) => port.send(dated(JSON.parse(line))))
  .on("close", () => port.close());
