// Elements of the page, and numbers as people read them. What the broker's clients have named is text, never HTML:
// nothing here, or in any other file, sets markup.

export const byId = (id) => document.getElementById(id);

// Not seen, and changes what is: a name with these would look like another one.
const UNSEEN = /[\p{Cc}\u061c\ufeff\u200b-\u200f\u2028-\u202e\u2060-\u206f]/gu;

// A text as one sees it; line ends and tabs stay, as HTML makes blanks of them.
export function visible(text) {
  const escaped = (character) => `\\u{${character.codePointAt(0).toString(16)}}`;
  return String(text).replace(UNSEEN, (character) => ("\t\n\r".includes(character) ? character : escaped(character)));
}

export function element(name, text = "", className = "") {
  const made = document.createElement(name);
  made.textContent = visible(text);
  if (className) made.className = className;
  return made;
}

// A row of a table; a cell is a text, a text with a class, or an element.
export function row(cells) {
  const made = document.createElement("tr");
  for (const cell of cells) {
    if (cell instanceof Element) {
      made.append(cell);
    } else {
      const [text, className] = Array.isArray(cell) ? cell : [cell, ""];
      made.append(element("td", text, className));
    }
  }
  return made;
}

// Adds rows to a table. Each cell has the title of its column with it, for a narrow window.
export function append(body, rows) {
  const titles = body.parentElement.tHead.rows[0].cells;
  for (const made of rows) {
    for (const [at, cell] of [...made.cells].entries()) cell.dataset.title = titles[at].textContent;
  }
  body.append(...rows);
}

// Puts rows in place of those that a table has, or a line that says that there are none.
export function fill(body, rows, nothing) {
  if (rows.length > 0) {
    body.replaceChildren();
    append(body, rows);
    return;
  }
  const cell = element("td", nothing, "empty");
  cell.colSpan = body.parentElement.tHead.rows[0].cells.length;
  const only = document.createElement("tr");
  only.append(cell);
  body.replaceChildren(only);
}

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 2 });

export function number(value) {
  if (value >= 1e6) return compact.format(value);
  return value >= 100 || Number.isInteger(value) ? whole.format(value) : short.format(value);
}

export function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (value >= 1024 && unit + 1 < units.length) {
    value /= 1024;
    unit += 1;
  }
  return `${number(value)} ${units[unit]}`;
}

export function duration(seconds) {
  if (!Number.isFinite(seconds)) return "–";
  if (seconds < 1e-3) return `${number(seconds * 1e6)} µs`;
  if (seconds < 1) return `${number(seconds * 1e3)} ms`;
  if (seconds < 120) return `${number(seconds)} s`;
  if (seconds < 7200) return `${number(Math.floor(seconds / 60))} min`;
  if (seconds < 172800) return `${number(Math.floor(seconds / 3600))} h`;
  return `${number(Math.floor(seconds / 86400))} d`;
}

export const time = (date) => date.toLocaleTimeString("en-GB");
