// The figures at the top of the page: tiles, rates, latency, shards and listeners.

import { byId, bytes, duration, element, fill, number, row } from "./dom.js";
import { quantile } from "./figures.js";

const POINTS_MAX = 150;
const SVG = "http://www.w3.org/2000/svg";

const tiles = [
  ["Clients", (figures) => number(figures.now("midge_clients_connected"))],
  ["Sessions", (figures) => number(figures.now("midge_sessions"))],
  ["Subscriptions", (figures) => number(figures.now("midge_subscriptions"))],
  ["Retained", (figures) => number(figures.now("midge_retained"))],
  ["Queued", (figures) => number(figures.now("midge_queued_messages"))],
  ["Slow consumers", (figures) => number(figures.now("midge_slow_consumers")), "midge_slow_consumers"],
  ["Memory", (figures) => bytes(figures.now("process_resident_memory_bytes")), "midge_memory_full"],
  ["CPU", (figures) => `${number(figures.rate("process_cpu_seconds_total") * 100)} %`],
  ["Descriptors", (figures) => `${number(figures.now("process_open_fds"))}`],
  ["Up", (figures) => duration(Date.now() / 1000 - figures.now("process_start_time_seconds"))],
];

const charts = [
  ["Messages received", "midge_publishes_received_total", (rate) => `${number(rate)} /s`],
  ["Messages sent", "midge_publishes_sent_total", (rate) => `${number(rate)} /s`],
  ["Messages dropped", "midge_publishes_dropped_total", (rate) => `${number(rate)} /s`],
  ["Connects", "midge_connects_accepted_total", (rate) => `${number(rate)} /s`],
  ["Bytes received", "midge_bytes_received_total", (rate) => `${bytes(rate)}/s`],
  ["Bytes sent", "midge_bytes_sent_total", (rate) => `${bytes(rate)}/s`],
].map(([title, name, shown]) => ({ title, name, shown, points: [], parts: null }));

export function showOverview(figures) {
  showTiles(figures);
  for (const chart of charts) showChart(chart, figures);
  showLatency(figures);
  showShards(figures);
  showListeners(figures);
}

function showTiles(figures) {
  const list = byId("tiles");
  for (const [at, [title, shown, alert]] of tiles.entries()) {
    let tile = list.children[at];
    if (!tile) {
      tile = document.createElement("div");
      tile.append(element("dt", title), element("dd"));
      list.append(tile);
    }
    tile.lastChild.textContent = shown(figures);
    tile.classList.toggle("alert", alert !== undefined && figures.now(alert) > 0);
  }
}

function showChart(chart, figures) {
  chart.parts ??= makeChart(chart);
  const rate = figures.rate(chart.name);
  chart.points.push(rate);
  if (chart.points.length > POINTS_MAX) chart.points.shift();
  const most = Math.max(...chart.points);
  const top = most > 0 ? most : 1;
  const first = POINTS_MAX - chart.points.length;
  const points = chart.points.map((value, at) => `${first + at},${(100 - (value / top) * 96).toFixed(2)}`);
  const { curve, area, now, highest, figure } = chart.parts;
  curve.setAttribute("points", points.join(" "));
  area.setAttribute("points", `${first},100 ${points.join(" ")} ${POINTS_MAX - 1},100`);
  now.textContent = chart.shown(rate);
  highest.textContent = `highest ${chart.shown(most)}`;
  figure.setAttribute("aria-label", `${chart.title}: ${chart.shown(rate)} now, ${chart.shown(most)} at most`);
}

function makeChart(chart) {
  const figure = document.createElement("figure");
  const caption = element("figcaption", chart.title);
  const now = element("strong");
  caption.append(now);
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${POINTS_MAX - 1} 100`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  const part = (name, className) => {
    const made = document.createElementNS(SVG, name);
    made.setAttribute("class", className);
    svg.append(made);
    return made;
  };
  const area = part("polygon", "area");
  const curve = part("polyline", "curve");
  const axis = element("div", "", "axis");
  const highest = element("span");
  axis.append(element("span", "5 min ago"), highest);
  figure.append(caption, svg, axis);
  byId("rates").append(figure);
  return { curve, area, now, highest, figure: svg };
}

export function showLatency(figures) {
  const qos = byId("latency-qos").value;
  const buckets = figures.buckets("midge_latency_seconds", qos === "" ? {} : { qos });
  const all = buckets.reduce((sum, bucket) => sum + bucket.count, 0);
  const of = (part) => {
    const bound = quantile(buckets, part);
    return bound === Infinity ? "longer" : `≤ ${duration(bound)}`;
  };
  byId("latency-summary").textContent =
    all === 0
      ? "No message in the last minute."
      : `${number(all)} copies: p50 ${of(0.5)}, p99 ${of(0.99)}, p99.9 ${of(0.999)}`;
  const used = buckets.filter((bucket) => bucket.count > 0);
  const shown = used.length === 0 ? [] : buckets.slice(buckets.indexOf(used[0]), buckets.indexOf(used.at(-1)) + 1);
  const most = Math.max(...shown.map((bucket) => bucket.count));
  const bars = shown.map((bucket) => {
    const line = document.createElement("div");
    const title = bucket.bound === Infinity ? "longer" : `≤ ${duration(bucket.bound)}`;
    const part = `${((bucket.count / all) * 100).toFixed(1)} %`;
    line.append(element("span", title), gauge(bucket.count, most, `${title}: ${part}`), element("span", part));
    return line;
  });
  byId("latency-chart").replaceChildren(...bars);
}

function showShards(figures) {
  const shards = figures.all("midge_shard_clients_connected").map((sample) => sample.labels.shard);
  const rows = shards.map((shard) => {
    const of = { shard };
    const busy = Math.min(figures.rate("midge_shard_busy_seconds_total", of), 1);
    const cell = element("td", "", "busy");
    const percent = `${number(busy * 100)} %`;
    cell.append(element("span", percent), gauge(busy, 1, `Shard ${shard} is busy: ${percent}`));
    const turn = quantile(figures.buckets("midge_shard_turn_seconds", of), 0.99);
    return row([
      shard,
      cell,
      [number(figures.now("midge_shard_clients_connected", of)), "number"],
      [number(figures.rate("midge_shard_publishes_received_total", of)), "number"],
      [number(figures.rate("midge_shard_publishes_sent_total", of)), "number"],
      [turn === Infinity ? "longer" : duration(turn), "number"],
      [number(figures.now("midge_shard_queue_messages", { from: shard })), "number"],
    ]);
  });
  fill(byId("shard-rows"), rows, "No shard has started.");
}

function showListeners(figures) {
  const name = "midge_listener_connections";
  const rows = figures.all(name).map((sample) => {
    const listener = { listener: sample.labels.listener };
    const ends = figures.all("midge_certificate_not_after_timestamp_seconds");
    const end = ends.find((other) => other.labels.listener === listener.listener);
    const days = end ? (end.value - Date.now() / 1000) / 86400 : Infinity;
    const date = end ? new Date(end.value * 1000).toISOString().slice(0, 10) : "no TLS";
    return row([
      [listener.listener, "name"],
      [number(sample.value), "number"],
      [number(figures.now(`${name}_accepted_total`, listener)), "number"],
      [number(figures.now(`${name}_refused_total`, listener)), "number"],
      [days < 14 ? `${date}: soon` : date, days < 14 ? "warn" : ""],
    ]);
  });
  fill(byId("listener-rows"), rows, "There is no listener.");
}

export function gauge(value, max, label) {
  const made = document.createElement("meter");
  made.max = max;
  made.value = value;
  made.setAttribute("aria-label", label);
  return made;
}
