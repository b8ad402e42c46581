// The page of the operators: asks the broker every two seconds while somebody looks.

import { ApiError, text } from "./api.js";
import { refreshBusiest, startBusiest } from "./busiest.js";
import { refreshClients, refreshEvents, startClients } from "./clients.js";
import { byId, time } from "./dom.js";
import { Figures } from "./figures.js";
import { startMessages } from "./messages.js";
import { showLatency, showOverview } from "./overview.js";

const EVERY_MS = 2000;
const figures = new Figures();
let isPrepared = false;

async function look() {
  const state = byId("state");
  try {
    if (!isPrepared) await prepare();
    figures.add(await text("/metrics"));
    showOverview(figures);
    await Promise.all([refreshClients(), refreshEvents(), refreshBusiest()]);
    state.textContent = `As of ${time(new Date())}`;
    state.classList.remove("failed");
    state.removeAttribute("role");
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    state.textContent = error.message;
    state.classList.add("failed");
    state.setAttribute("role", "alert");
  }
}

async function lookAlways() {
  for (;;) {
    if (!document.hidden) await look();
    await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
  }
}

// What is asked once.
async function prepare() {
  byId("version").textContent = (await text("/api/v1/version")).trim();
  await startMessages();
  isPrepared = true;
}

byId("latency-qos").addEventListener("change", () => showLatency(figures));
startClients();
startBusiest();
lookAlways();
