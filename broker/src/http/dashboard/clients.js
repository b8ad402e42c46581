// Clients and sessions, what was refused last, and what an operator does about a client.

import { ApiError, json, post, remove } from "./api.js";
import { append, byId, bytes, duration, element, fill, number, row, time, visible } from "./dom.js";

const PAGE = 20;
let next = null;
let pages = 0;

export function startClients() {
  byId("client-search").addEventListener("submit", (event) => {
    event.preventDefault();
    refreshClients(true);
  });
  byId("client-kind").addEventListener("change", () => refreshClients(true));
  byId("client-more").addEventListener("click", () => load(next));
  byId("event-kind").addEventListener("change", () => refreshEvents());
}

// Reads the list again, unless somebody is at work in it.
export async function refreshClients(asked = false) {
  const busy = byId("client-rows").contains(document.activeElement) || pages > 1 || byId("confirm").open;
  if (asked || !busy) await load(null);
}

async function load(cursor) {
  const kind = byId("client-kind").value;
  const query = new URLSearchParams({ limit: PAGE, search: byId("client-text").value });
  if (kind === "clients-slow") query.set("slow", "true");
  if (cursor !== null) query.set("cursor", cursor);
  const summary = byId("client-summary");
  try {
    const page = await json(`${kind === "sessions" ? "sessions" : "clients"}?${query}`);
    const rows = page.items.map(clientRow);
    const body = byId("client-rows");
    if (cursor === null) {
      pages = 0;
      fill(body, rows, "There is none.");
    } else {
      append(body, rows);
    }
    pages += 1;
    next = page.next;
    byId("client-more").hidden = next === null;
    const shown = body.querySelectorAll("tr[data-client]").length;
    summary.textContent = next === null ? `${number(shown)} shown` : `${number(shown)} shown, there are more`;
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    summary.textContent = error.message;
  }
}

function clientRow(session) {
  const actions = element("td", "", "actions");
  if (session.connected) {
    actions.append(button("Disconnect", session.client_id, disconnect), " ");
  }
  actions.append(button("End session", session.client_id, endSession));
  const made = row([
    [session.client_id, "name"],
    [session.user ?? "–", "name"],
    stateOf(session),
    session.connected ? [`${session.address ?? "?"} at ${session.listener}`, "name"] : "–",
    [number(session.subscriptions), "number"],
    [`${number(session.queued_messages)} (${bytes(session.queued_bytes)})`, "number"],
    [number(session.inflight), "number"],
    [session.output_bytes === null ? "–" : bytes(session.output_bytes), "number"],
    actions,
  ]);
  made.dataset.client = session.client_id;
  return made;
}

function stateOf(session) {
  if (!session.connected) return `away for ${duration(session.away_s)}`;
  const version = { 3: "3.1", 4: "3.1.1", 5: "5.0" }[session.protocol];
  if (session.slow) return ["slow consumer", "warn"];
  if (session.paused) return ["paused for slower ones", "warn"];
  const since_ms = Date.now() - Date.parse(session.connected_since);
  return `MQTT ${version}, for ${duration(Math.max(since_ms, 0) / 1000)}`;
}

const timesOf = ({ count }) => (count > 1 ? ` (${number(count)} times)` : "");

function button(title, client, act) {
  const made = element("button", title, "small");
  made.type = "button";
  made.setAttribute("aria-label", `${title}: ${visible(client)}`);
  made.addEventListener("click", () => act(client));
  return made;
}

async function disconnect(client) {
  const question = `Disconnect the client “${visible(client)}”? Its session stays, and it may connect again.`;
  if (await confirmed(question, "Disconnect")) {
    await act(() => post("clients/disconnect", { client_id: client }));
  }
}

async function endSession(client) {
  const lost = "Its subscriptions and queued messages are lost.";
  const question = `End the session of “${visible(client)}”? ${lost}`;
  if (await confirmed(question, "End session")) {
    await act(() => remove(`sessions?${new URLSearchParams({ client })}`));
  }
}

// What became of it stays until the next one: the list itself is read again and again.
async function act(request) {
  const outcome = byId("client-outcome");
  outcome.textContent = "";
  try {
    await request();
    await refreshClients(true);
    await refreshEvents();
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    outcome.textContent = `It was not done: ${error.message}`;
  }
  byId("client-text").focus({ preventScroll: true });
}

function confirmed(question, answer) {
  const dialog = byId("confirm");
  byId("confirm-text").textContent = question;
  byId("confirm-yes").textContent = answer;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

export async function refreshEvents() {
  const query = new URLSearchParams({ limit: 100 });
  if (byId("event-kind").value) query.set("kind", byId("event-kind").value);
  const { items } = await json(`events?${query}`);
  const rows = items.map((event) =>
    row([
      time(new Date(event.time)),
      event.kind,
      event.reason.replaceAll("_", " "),
      [event.client_id || (event.address ?? ""), "name"],
      [[event.topic, event.detail].filter((part) => part !== null).join(": ") + timesOf(event), "name"],
    ]),
  );
  fill(byId("event-rows"), rows, "No refusals, drops or disconnects.");
}
