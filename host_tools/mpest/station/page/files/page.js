// The operator's page. All that comes from boards, ledger and job is set as text, never as markup.
"use strict";

const SIGNS = {
  free: "○", working: "▶", done: "✓", known: "=", failed: "✗", refused: "✗",
  unplugged: "?", waiting: "…", stopped: "‖", stop: "✗", scan: "▌", turn: "…",
};
const STEPS = [
  "identify", "firmware", "settings", "key", "request", "enrol", "install", "prove", "accept", "label",
];
// A wedge scanner types as a keyboard does, but faster than a person: milliseconds for a key on
// average, and at most, and the fewest keys.
const SCAN_MEAN = 50, SCAN_MOST = 300, SCAN_KEYS = 3;

const $ = (id) => document.getElementById(id);
let texts, session = {}, state = null, shown = null, asked = false, deciding = "";
const heard = new Map();

const fill = (text, values = {}) =>
  text.replace(/\{(\w+)\}/g, (all, name) => (name in values ? String(values[name]) : all));
const said = (name, values) => fill(texts[name] ?? name, values);
const word = (table, name, part) => {
  const entry = texts[table][name];
  return (part ? entry?.[part] : entry) ?? name;
};

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// What is shown.

function advice(tile) {
  if (tile.state === "failed" && texts.step[tile.step]) return word("step", tile.step, "advice");
  if (tile.state === "done") {
    if (session.scan_back && tile.label === "printed") return said("scan_label");
    if (!tile.here) return said("taken");
  }
  return word("outcome", tile.state, "advice");
}

// The port's name, without the folder of a device.
const nameOf = (port) => port.split("/").pop();

function stepOf(tile) {
  const number = STEPS.indexOf(tile.step) + 1;
  if (!number || tile.state === "done") return "";
  const step = texts.step[tile.step] ? word("step", tile.step, "name") : tile.step;
  return said("step_of", { number, count: STEPS.length, step });
}

// A line of a board's history: when, what, result, who, where.
function cellsOf(line) {
  const step = texts.step[line.step] ? word("step", line.step, "name") : line.step;
  const seconds = line.seconds === null ? "" : said("board_seconds", { seconds: line.seconds.toFixed(1) });
  return [
    new Date(line.at).toLocaleString(),
    [word("event", line.event), step].filter(Boolean).join(": "),
    [word("labels", line.outcome), line.reason, seconds].filter(Boolean).join(" · "),
    line.operator,
    [line.station, line.port].filter(Boolean).join(" "),
  ];
}

function drawTile(element, tile) {
  const last = element.dataset.drawn;
  const drawn = JSON.stringify([tile, session.scan, session.drawn]);
  if (last === drawn) return;
  element.dataset.drawn = drawn;
  element.className = `tile ${tile.state in SIGNS ? tile.state : ""}`;
  element.setAttribute("aria-label", nameOf(tile.port));
  const inner = make("div", "inner");
  const head = make("p", "head");
  head.append(make("span", "port", nameOf(tile.port)), make("span", "serial", tile.serial));
  const name = make("p", "word");
  const sign = make("span", "sign", SIGNS[tile.state] ?? "");
  sign.setAttribute("aria-hidden", "true");
  name.append(sign, " ", make("span", "name", word("outcome", tile.state, "word")));
  inner.append(head, name);
  if (stepOf(tile)) inner.append(make("p", "step", stepOf(tile)));
  if (tile.state === "working") {
    const bar = make("progress");
    bar.max = STEPS.length;
    bar.value = tile.passed.length + (tile.fraction ?? 0);
    bar.setAttribute("aria-label", stepOf(tile));
    inner.append(bar);
  }
  inner.append(make("p", "advice", advice(tile)));
  if (tile.label && session.drawn && tile.state === "done") {
    const label = make("img");
    label.src = `/label?serial=${encodeURIComponent(tile.serial)}`;
    label.alt = said("label_of", { serial: tile.serial });
    inner.append(label);
  }
  if (tile.label) inner.append(make("p", "labelled", said("label", { label: word("labels", tile.label) })));
  if (tile.history.length) {
    const lines = make("ol", "life");
    lines.setAttribute("aria-label", said("history", { serial: tile.serial }));
    for (const line of [...tile.history].reverse()) {
      lines.append(make("li", "", cellsOf(line).filter(Boolean).join(" · ")));
    }
    inner.append(lines);
  }
  if (tile.message) inner.append(make("p", "message", said("engineer", { message: tile.message })));
  element.replaceChildren(inner);
}

function hear(tile) {
  // A result is read out once.
  const last = heard.get(tile.port);
  if (tile.number > (last?.number ?? 0)) {
    if (!(tile.state === "waiting" && last?.state === "waiting")) {
      const text = [nameOf(tile.port), tile.serial, word("outcome", tile.state, "word"), advice(tile)];
      $("results").append(make("p", "", text.filter(Boolean).join(": ")));
      while ($("results").childElementCount > 8) $("results").firstChild.remove();
    }
    heard.set(tile.port, { number: tile.number, state: tile.state });
  }
}

function drawTiles() {
  const tiles = $("tiles");
  const known = new Map([...tiles.children].map((element) => [element.dataset.port, element]));
  state.tiles.forEach((tile, at) => {
    let element = known.get(tile.port);
    if (!element) {
      element = make("section", "tile");
      element.dataset.port = tile.port;
    }
    known.delete(tile.port);
    if (tiles.children[at] !== element) tiles.insertBefore(element, tiles.children[at] ?? null);
    drawTile(element, tile);
    hear(tile);
  });
  for (const element of known.values()) element.remove();
  $("none").hidden = state.tiles.length > 0;
  arrange();
}

// As many columns as make the tiles largest, of about 4 to 3.
function arrange() {
  const count = $("tiles").childElementCount;
  if (!count) return;
  const width = window.innerWidth, height = window.innerHeight * 0.7;
  let best = 1, most = 0;
  for (let columns = 1; columns <= count; columns++) {
    const side = Math.min(width / columns / 4, height / Math.ceil(count / columns) / 3);
    if (side > most) [best, most] = [columns, side];
  }
  $("tiles").style.setProperty("--columns", best);
}

function percent(good) {
  const all = state.shift.ended;
  if (!all) return said("no_yield");
  return said("yield_of", { percent: Math.round((100 * good) / all), good, all });
}

function drawNumbers() {
  const { counts, shift } = state;
  const since = new Date(shift.since * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  const { done = 0, quantity } = counts;
  const numbers = [
    ["made", said("made"), quantity ? said("made_of", { done, quantity }) : String(done)],
    ["failing", said("failed"), String(counts.failed ?? 0)],
    ["aside", said("aside"), String(counts.aside ?? 0)],
    ...(session.scan_back ? [["labels", said("labels_left"), String(counts.labels ?? 0)]] : []),
    ["first", `${said("shift", { time: since })}: ${said("first_pass")}`, percent(shift.first)],
    ["final", said("final"), percent(shift.final)],
  ];
  $("numbers").replaceChildren(
    ...numbers.map(([name, title, text]) => {
      const number = make("div", name);
      number.append(make("dt", "", title), make("dd", "", text));
      return number;
    }),
  );
}

function drawNotes() {
  $("messages").hidden = !state.notes.length;
  $("notes").replaceChildren(
    ...[...state.notes].reverse().map((note) => {
      const time = new Date(note.at * 1000).toLocaleTimeString();
      return make("li", "", `${time} ${note.port ? `${note.port}: ` : ""}${note.message}`);
    }),
  );
}

function drawBanner(away) {
  let text = "", bad = true;
  if (state?.stop) text = said("stopped", { message: state.stop });
  else if (state?.end) text = said("ended", { message: state.end });
  else if (away) text = said("away");
  else if (state) {
    const why = state.tiles.filter((tile) => tile.state === "waiting" && tile.here);
    const messages = new Set(why.map((tile) => tile.message));
    if (messages.size) text = said("waiting", { message: [...messages].join("; ") });
    bad = false;
  }
  setText($("banner"), text);
  $("banner").className = bad ? "bad" : "";
  $("banner").hidden = !text;
}

function draw() {
  if (!state) return;
  const { batch = "", station = "", operator = "" } = state.line;
  setText($("batch"), said("batch", { batch, station }));
  setText($("operator"), operator ? said("operator", { operator }) : said("work_here"));
  if (!operator && state.line.batch) askOnce();
  drawTiles();
  drawNumbers();
  drawNotes();
  drawBanner(false);
}

function drawSession() {
  $("unlock").hidden = !session.writable || session.open;
  $("change").hidden = $("leave").hidden = !session.open;
  if (!session.open) askOnce();
  else if (state?.line.operator) asked = false;
  drawActions();
}

// Nobody has said who works here, or not for a while.
function askOnce() {
  if (!session.writable || asked) return;
  asked = true;
  ask();
}

// What is asked and done.

async function post(path, fields) {
  try {
    const answer = await fetch(path, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(fields),
    });
    const content = await answer.json();
    return { ok: answer.ok, status: answer.status, ...content };
  } catch {
    return { ok: false, error: said("away") };
  }
}

function tell(text) {
  setText($("told"), text);
  setText($("board-told"), $("board").open ? text : "");
}

function ask() {
  $("pin-field").hidden = session.open;
  $("pin").required = !session.open;
  $("name").value = $("pin").value = "";
  setText($("who-error"), "");
  if (!$("who").open) $("who").showModal();
  $("name").focus();
}

async function begin() {
  const operator = $("name").value, pin = $("pin").value;
  const answer = session.open
    ? await post("/operator", { operator })
    : await post("/open", { operator, pin });
  if (answer.ok) {
    $("who").close();
    asked = false;
    if (state) state.line.operator = operator;
    session = { ...session, open: true, operator };
    drawSession();
    connect(); // with the new cookie
  } else if (answer.status === 429) {
    setText($("who-error"), said("wait", { seconds: answer.wait }));
  } else {
    setText($("who-error"), answer.status === 403 ? said("wrong_pin") : answer.error);
    $("pin").select();
  }
}

async function find(query) {
  let content;
  try {
    content = await (await fetch(`/board?${new URLSearchParams(query)}`)).json();
  } catch {
    content = { error: said("away") };
  }
  if (content.error) {
    tell(said("no_board", { message: content.error }));
    return;
  }
  shown = content;
  drawBoard();
  if (!$("board").open) {
    setText($("board-told"), "");
    $("board").showModal();
  }
}

function drawBoard() {
  setText($("board-title"), said("history", { serial: shown.serial }));
  const facts = [word("state", shown.state), shown.batch, shown.unique_id];
  facts.push(...Object.entries(shown.metadata).map(([name, value]) => `${name}: ${value}`));
  if (shown.label) facts.push(said("label", { label: word("labels", shown.label) }));
  setText($("board-state"), facts.filter(Boolean).join(" · "));
  const label = $("board-label");
  label.hidden = !(session.drawn && shown.label);
  if (!label.hidden) {
    label.src = `/label?serial=${encodeURIComponent(shown.serial)}`;
    label.alt = said("label_of", { serial: shown.serial });
  }
  $("history").replaceChildren(
    ...[...shown.history].reverse().map((line) => {
      const row = make("tr");
      row.append(...cellsOf(line).map((cell) => make("td", "", cell)));
      return row;
    }),
  );
  drawActions();
}

function drawActions() {
  decide("");
  if (!shown) return;
  $("board-actions").hidden = !session.open || shown.state === "scrapped";
  $("rework").hidden = shown.state === "open";
  $("reprint").hidden = !session.labels || !shown.label;
}

function decide(what) {
  deciding = what;
  $("decide").hidden = !what;
  $("reason").value = "";
  if (what) {
    setText($("decide-help"), `${said(what)}: ${said(`${what}_help`)}`);
    $("reason").focus();
  }
}

async function decided(path, fields) {
  const answer = await post(path, fields);
  if (answer.status === 401) {
    session.open = false;
    drawSession();
    ask();
  }
  if (!answer.ok) {
    tell(said("not_done", { message: answer.error }));
    return;
  }
  const name = answer.what === "label" ? `decided_label_${answer.label}` : `decided_${answer.what}`;
  await find({ serial: answer.serial });
  tell(said(name, { serial: answer.serial }));
}

async function scanned(text) {
  if ($("who").open) {
    $("name").value = text;
    $("pin").focus();
    if (session.open || $("pin").value) await begin();
    return;
  }
  if (session.scan && session.open) {
    await scannedBack(text);
  } else {
    await find({ scanned: text });
    if (session.scan) tell(said(session.writable ? "need_pin" : "read_only"));
  }
}

async function scannedBack(text) {
  const answer = await post("/scanned", { text });
  if (answer.ok) {
    if ($("board").open) await find({ serial: answer.serial });
    const name = answer.what === "scan" ? "decided_scan" : "decided_label_scanned";
    tell(said(name, { serial: answer.serial }));
  } else {
    if (answer.status === 401) ask();
    tell(said("not_done", { message: answer.error }));
  }
}

// The scanner's keys go to whatever has the focus; what they did there is undone.
function listen() {
  let keys = "", first = 0, last = 0, field = null, before = "";
  const forget = () => ([keys, field] = ["", null]);
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const now = event.timeStamp;
    if (keys && now - last > SCAN_MOST) forget();
    if (event.key === "Enter" || event.key === "Tab") {
      const fast = keys.length >= SCAN_KEYS && (now - first) / keys.length <= SCAN_MEAN;
      const text = keys;
      if (fast && event.key === "Enter") {
        event.preventDefault();
        event.stopPropagation();
        if (field) field.value = before;
        scanned(text);
      }
      forget();
    } else if (event.key.length === 1) {
      if (!keys) {
        first = now;
        field = event.target instanceof HTMLInputElement ? event.target : null;
        before = field ? field.value : "";
      } else if (event.key === " " && !field) {
        event.preventDefault(); // or it would press the button that has the focus
      }
      keys += event.key;
      last = now;
    }
  }, true);
}

let source = null;

function connect() {
  source?.close();
  source = new EventSource("/events");
  source.addEventListener("state", (event) => {
    state = JSON.parse(event.data);
    draw();
  });
  source.addEventListener("session", (event) => {
    session = JSON.parse(event.data);
    drawSession();
    draw();
  });
  source.onerror = () => {
    drawBanner(true);
    // A browser gives up after an answer that is no stream.
    if (source.readyState === EventSource.CLOSED) setTimeout(connect, 2000);
  };
}

async function start() {
  try {
    texts = await (await fetch("/texts.json")).json();
  } catch {
    setTimeout(start, 2000);
    return;
  }
  document.documentElement.lang = texts.language;
  document.title = texts.title;
  for (const element of document.querySelectorAll("[data-text]")) {
    element.textContent = said(element.dataset.text);
  }
  const on = (id, kind, action) => $(id).addEventListener(kind, (event) => {
    event.preventDefault();
    action();
  });
  on("find", "submit", () => {
    const serial = $("serial").value.trim();
    if (serial) find({ serial });
  });
  on("begin", "submit", begin);
  on("unlock", "click", ask);
  on("change", "click", ask);
  on("leave", "click", async () => {
    await post("/close", {});
    asked = true;
    session = { ...session, open: false };
    drawSession();
    connect();
  });
  on("rework", "click", () => decide("rework"));
  on("scrap", "click", () => decide("scrap"));
  on("reprint", "click", () => decided("/reprint", { serial: shown.serial }));
  on("cancel", "click", () => decide(""));
  on("decide", "submit", () => {
    const reason = $("reason").value.trim();
    if (reason) decided(`/${deciding}`, { serial: shown.serial, reason });
    else tell(said("reason_missing"));
  });
  for (const button of document.querySelectorAll("dialog .closes")) {
    button.addEventListener("click", () => button.closest("dialog").close());
  }
  window.addEventListener("resize", arrange);
  listen();
  connect();
}

start();
