// A client of `ws`. Usage: client.mjs URL PLACE TOKEN. Prints `ready` after its messages have come back, then the code
// and the reason of the close.
import { WebSocket } from "ws";

const [url, place, token] = process.argv.slice(2);
const headers = {
  header: { Authorization: `Bearer ${token}` },
  cookie: { Cookie: `a=1; token=${token}` },
}[place];
const protocols = place === "subprotocol" ? ["Bearer", token] : [];
const socket = new WebSocket(url, protocols, { headers, perMessageDeflate: true });
const next = (event) => new Promise((resolve) => socket.once(event, (...values) => resolve(values)));
const closed = next("close");
socket.on("error", (error) => console.log(error.message));
await next("open");
if (socket.protocol !== (protocols[0] ?? "")) throw new Error(`protocol ${socket.protocol}`);
for (const message of ["hello", "", Buffer.alloc(1 << 20, 7)]) {
  socket.send(message);
  const [data] = await next("message");
  if (!Buffer.from(message).equals(data)) throw new Error("another message came back");
}
socket.ping("are you there");
const [pong] = await next("pong");
if (pong.toString() !== "are you there") throw new Error("another pong came back");
console.log("ready");
const [code, reason] = await closed;
console.log(`${code} ${reason}`);
