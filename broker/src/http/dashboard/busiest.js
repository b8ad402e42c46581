// The clients that cost the most CPU time, measured while somebody wants to know.

import { json } from "./api.js";
import { byId, duration, element, fill, row, time } from "./dom.js";
import { gauge } from "./overview.js";

let isOn = false;

export function startBusiest() {
  fill(byId("busiest-rows"), [], "Not measured.");
  byId("busiest-measure").addEventListener("click", () => {
    isOn = !isOn;
    byId("busiest-measure").textContent = isOn ? "Stop" : "Measure";
    // If it fails, the next look at the figures fails too, and says so.
    refreshBusiest().catch(() => {});
  });
}

export async function refreshBusiest() {
  if (!isOn) return;
  const busiest = await json("cpu?limit=10");
  if (busiest.measured_s === 0) {
    fill(byId("busiest-rows"), [], "Measuring: the first second is not over yet.");
    return;
  }
  const [from, to] = [busiest.from, busiest.to].map((moment) => time(new Date(moment)));
  byId("busiest-summary").textContent =
    `From ${from} to ${to} (${duration(busiest.measured_s)}): ${duration(busiest.cpu_s)} of CPU time for all clients.`;
  const rows = busiest.items.map((client) => {
    const percent = `${(client.cores * 100).toFixed(2)} %`;
    const cell = element("td", "", "busy");
    cell.append(element("span", percent), gauge(client.cores, 1, `${client.client_id}: ${percent} of a core`));
    return row([
      [client.connected ? client.client_id : `${client.client_id} (has left)`, "name"],
      [client.user ?? "–", "name"],
      [duration(client.cpu_s), "number"],
      cell,
    ]);
  });
  fill(byId("busiest-rows"), rows, "No client used CPU time in that period.");
}
