// The tool that publishes and subscribes, as a client of its own.

import { json } from "./api.js";
import { byId, fill, number, row, time, visible } from "./dom.js";
import { MqttClient } from "./mqtt.js";

const ROWS_MAX = 200;
const PAYLOAD_SHOWN_MAX = 4096;

let client = null;
let coming = [];
let count = 0;

export async function startMessages() {
  const { listeners } = await json("listeners");
  const host = location.hostname;
  const all = listeners.filter((listener) => listener.protocol === "websockets");
  // From a page that came by TLS, browsers open no connection without.
  const usable = all.filter((listener) => listener.tls || location.protocol !== "https:");
  const urls = usable.map((listener) => `${listener.tls ? "wss" : "ws"}://${host}:${listener.port}/mqtt`);
  byId("socket-url").replaceChildren(...urls.map((url) => new Option(url)));
  if (all.length === 0) {
    byId("socket-hint").textContent =
      "The broker has no WebSocket listener. Fix: add a `listener` with `protocol websockets`.";
  } else if (urls.length === 0) {
    byId("socket-hint").textContent =
      "This page was loaded over HTTPS, so the browser opens no WebSocket without TLS. " +
      "Fix: give the `listener` with `protocol websockets` a `certfile` and a `keyfile`.";
  }
  setConnected(false);
  byId("socket-connect").disabled = urls.length === 0;
  byId("connect-form").addEventListener("submit", connect);
  byId("subscribe-form").addEventListener("submit", subscribe);
  byId("unsubscribe").addEventListener("click", unsubscribe);
  byId("publish-form").addEventListener("submit", publish);
  fill(byId("message-rows"), [], "No message has arrived.");
}

function setConnected(is) {
  for (const form of ["subscribe-form", "publish-form"]) {
    for (const field of byId(form).elements) field.disabled = !is;
  }
  byId("socket-connect").textContent = is ? "Disconnect" : "Connect";
}

function say(text) {
  byId("socket-state").textContent = visible(text);
}

function connect(event) {
  event.preventDefault();
  if (client) {
    client.close();
    return;
  }
  const password = byId("socket-password").value;
  // Not kept longer than it is needed, whatever comes of it.
  byId("socket-password").value = "";
  say("Connecting");
  try {
    client = new MqttClient(byId("socket-url").value, byId("socket-user").value, password, {
      connected() {
        setConnected(true);
        say("Connected");
      },
      message: receive,
      closed(why) {
        client = null;
        setConnected(false);
        say(why);
      },
    });
  } catch (error) {
    say(`The browser does not connect: ${error.message}`);
  }
}

async function attempt(what, done) {
  try {
    say(done(await what()));
  } catch (error) {
    say(error.message);
  }
}

function subscribe(event) {
  event.preventDefault();
  const filter = byId("subscribe-filter").value;
  const qos = Number(byId("subscribe-qos").value);
  attempt(
    () => client.subscribe(filter, qos),
    (granted) => `Subscribed to ${filter} at QoS ${granted}`,
  );
}

function unsubscribe() {
  const filter = byId("subscribe-filter").value;
  attempt(
    () => client.unsubscribe(filter),
    (code) => (code === 0 ? `Unsubscribed from ${filter}` : `There was no subscription to ${filter}`),
  );
}

function publish(event) {
  event.preventDefault();
  const topic = byId("publish-topic").value;
  const qos = Number(byId("publish-qos").value);
  attempt(
    () => client.publish(topic, byId("publish-payload").value, qos, byId("publish-retain").checked),
    () => (qos === 0 ? `Sent to ${topic}` : `Published to ${topic}`),
  );
}

// Many messages become one change of the page.
function receive(message) {
  count += 1;
  if (coming.length === 0) requestAnimationFrame(show);
  coming.push({ ...message, at: new Date() });
  if (coming.length > ROWS_MAX) coming.shift();
}

function show() {
  const rows = coming.reverse().map((message) => {
    const flags = `q${message.qos}${message.retain ? " retained" : ""}`;
    return row([time(message.at), [message.topic, "name"], flags, [shown(message.payload), "name"]]);
  });
  coming = [];
  const body = byId("message-rows");
  const kept = [...body.rows].filter((old) => old.cells.length > 1);
  fill(body, [...rows, ...kept].slice(0, ROWS_MAX), "");
  byId("socket-count").textContent = `${number(count)} received`;
}

function shown(payload) {
  const part = payload.subarray(0, PAYLOAD_SHOWN_MAX);
  const rest = payload.length > part.length ? `… (${number(payload.length)} bytes)` : "";
  try {
    // A character that is cut at the end is none that is wrong.
    return new TextDecoder("utf-8", { fatal: true }).decode(part, { stream: rest !== "" }) + rest;
  } catch {
    const hex = Array.from(part.subarray(0, 256), (byte) => byte.toString(16).padStart(2, "0"));
    return `0x${hex.join("")}${payload.length > 256 ? `… (${number(payload.length)} bytes)` : ""}`;
  }
}
