// A page that opens a WebSocket of its own origin, and the service behind it. Usage: page.mjs PORT TOKEN-FILE. Prints the
// report of the page.
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { WebSocketServer } from "ws";

const [port, tokenFile] = process.argv.slice(2);
const page = `<!doctype html><script>
const socket = new WebSocket("wss://" + location.host + "/events");
const report = (text) => fetch("/report?" + encodeURIComponent(text));
const large = "x".repeat(1 << 20);
socket.onopen = () => { socket.send("hello"); socket.send(large); };
let messages = 0;
socket.onmessage = ({ data }) => {
  messages += data === "hello" || data === large ? 1 : 100;
  if (messages === 2) report("ready");
};
socket.onclose = ({ code, reason }) => report(code + " " + reason);
</script>`;
const server = createServer((request, response) => {
  if (request.url.startsWith("/report?")) {
    console.log(decodeURIComponent(request.url.slice("/report?".length)));
    response.end();
    return;
  }
  const token = readFileSync(tokenFile, "utf8").trim();
  response.setHeader("Set-Cookie", `token=${token}; Secure; HttpOnly; SameSite=Strict`);
  response.setHeader("Content-Type", "text/html");
  response.end(page);
});
const sockets = new WebSocketServer({ server, path: "/events" });
sockets.on("connection", (socket) => {
  socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary }));
});
server.listen(Number(port), "127.0.0.1");
