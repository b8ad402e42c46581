// Requests to the HTTP API that serves this page. The browser adds the user and the password that it was given.

export class ApiError extends Error {}

async function ask(method, path, body) {
  const options = { method, cache: "no-store" };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers = { "Content-Type": "application/json" };
  }
  let answer;
  try {
    answer = await fetch(new URL(path, location.origin), options);
  } catch {
    throw new ApiError("The broker does not answer.");
  }
  if (answer.ok) return answer;
  let sentence = `${answer.status} ${answer.statusText}`;
  try {
    sentence = (await answer.json()).error;
  } catch {
    // The status line has to do.
  }
  throw new ApiError(sentence);
}

export const json = async (path) => (await ask("GET", `/api/v1/${path}`)).json();
export const text = async (path) => (await ask("GET", path)).text();
export const post = async (path, body) => (await ask("POST", `/api/v1/${path}`, body)).json();
export const remove = async (path) => (await ask("DELETE", `/api/v1/${path}`)).json();

// The samples of a page of metrics: for each name a list of labels and value.
export function parseMetrics(page) {
  const samples = new Map();
  for (const line of page.split("\n")) {
    if (line === "" || line.startsWith("#")) continue;
    const end = line.lastIndexOf(" ");
    const brace = line.indexOf("{");
    const name = line.slice(0, brace < 0 ? end : brace);
    const labels = {};
    if (brace >= 0) {
      for (const [, label, value] of line.matchAll(/([a-z_]+)="((?:[^"\\]|\\.)*)"/g)) {
        labels[label] = value.replace(/\\(.)/g, (_, escaped) => (escaped === "n" ? "\n" : escaped));
      }
    }
    if (!samples.has(name)) samples.set(name, []);
    samples.get(name).push({ labels, value: Number(line.slice(end + 1)) });
  }
  return samples;
}
