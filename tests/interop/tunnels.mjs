// Programs whose HTTP library opens a tunnel (CONNECT) also for http:// URLs: undici (Node's fetch), https-proxy-agent and
// hpagent. Prints the upstream's answer to each. Usage: tunnels.mjs PROXY URL
import http from 'node:http';
import { HttpProxyAgent } from 'hpagent';
import { HttpsProxyAgent } from 'https-proxy-agent';
import { ProxyAgent, fetch } from 'undici';

const [proxy, url] = process.argv.slice(2);

const get = (agent) =>
  new Promise((resolve, reject) => {
    const request = http.get(url, { agent }, async (response) => {
      let text = '';
      for await (const part of response) text += part;
      resolve(`${response.statusCode} ${text}`);
    });
    request.on('error', reject);
  });

const dispatcher = new ProxyAgent(proxy);
for (let round = 0; round < 2; round += 1) {
  const answer = await fetch(url, { dispatcher });
  console.log(`undici ${answer.status} ${await answer.text()}`);
}
await dispatcher.close();
console.log(`https-proxy-agent ${await get(new HttpsProxyAgent(proxy))}`);
const hpagent = new HttpProxyAgent({ proxy });
console.log(`hpagent ${await get(hpagent)}`);
hpagent.destroy();

// TLS inside is refused, and the program gets an error.
const secure = new ProxyAgent(proxy);
const refused = await fetch(url.replace('http:', 'https:').replace(/:80\b/, ''), { dispatcher: secure }).catch(() => null);
console.log(refused === null ? 'https refused' : `https ${refused.status}`);
await secure.close();
