// A client of `ws`. Usage: client.mjs URL PLACE TOKEN. Prints `ready` after its messages have come back, then the code
// and the reason of the close. With the place `http2` it uses the HTTP/2 of Node (RFC 8441).
import { connect } from "node:http2";
import { WebSocket } from "ws";

const [url, place, token] = process.argv.slice(2);
const headers = {
  header: { Authorization: `Bearer ${token}` },
  cookie: { Cookie: `a=1; token=${token}` },
}[place];
const protocols = place === "subprotocol" ? ["Bearer", token] : [];

// A WebSocket of `ws` on a stream of HTTP/2.
async function overHttp2() {
  const { host, pathname } = new URL(url);
  const session = connect(`http://${host}`);
  const [settings] = await new Promise((resolve) => session.once("remoteSettings", (...values) => resolve(values)));
  if (!settings.enableConnectProtocol) throw new Error("WebSockets are not announced");
  const stream = session.request({
    ":method": "CONNECT",
    ":protocol": "websocket",
    ":path": pathname,
    "sec-websocket-version": "13",
    authorization: `Bearer ${token}`,
  });
  const [answer] = await new Promise((resolve) => stream.once("response", (...values) => resolve(values)));
  if (answer[":status"] !== 200) throw new Error(`status ${answer[":status"]} ${answer["x-m2m-reason"]}`);
  const socket = new WebSocket(null, undefined, {});
  socket._isServer = false;
  stream.setNoDelay = () => {};
  socket.setSocket(stream, Buffer.alloc(0), { maxPayload: 1 << 30 });
  socket.on("close", () => session.close());
  return socket;
}

const socket =
  place === "http2" ? await overHttp2() : new WebSocket(url, protocols, { headers, perMessageDeflate: true });
const next = (event) => new Promise((resolve) => socket.once(event, (...values) => resolve(values)));
const closed = next("close");
socket.on("error", (error) => console.log(error.message));
if (place !== "http2") await next("open");
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
