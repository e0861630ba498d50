// Plays with a served model: encode two images, mix their parts, decode.
//
// All it needs of a server is TensorFlow Serving's REST protocol. What the
// local server adds (/page/models: names, cards, sample images) saves typing.

const TIMEOUT = 30_000;
// How far a traversal goes where the model card has no ranges: standard
// deviations of a normal prior.
const REACH = 2.5;
const STEPS = 7;
// Entries of a part that are shown at first, those that vary most.
const WIDEST = 16;
// Rows of a traversal that are decoded by one request: sliders do not wait for
// more, and batches of a server are limited.
const ROWS_AT_ONCE = 4;
// The traversal is drawn when nothing has moved for so many milliseconds.
const SETTLED = 400;
// PNG files up to this size go to the model as they are. Others are redrawn,
// JPEG too: photos lie on their side until the browser turns them.
const LARGE_FILE = 1_000_000;
const LARGE_SIDE = 1024;

// ---- small things -----------------------------------------------------------

// What went wrong, as a sentence for the reader.
class Problem extends Error {}

const find = (selector, root = document) => root.querySelector(selector);

function element(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

function sentence(text) {
  const line = String(text).split("\n")[0].trim().slice(0, 300);
  return /[.!?]$/.test(line) ? line : `${line}.`;
}

function report(error) {
  const known = error instanceof Problem;
  if (!known) console.error(error);
  const text = known ? error.message : `Something broke: ${error.message}`;
  find("#problem").textContent = sentence(text);
  find("#problem").hidden = false;
}

function allIsWell() {
  find("#problem").hidden = true;
}

// A function whose failures are reported.
function reporting(action) {
  return async (...given) => {
    try {
      await action(...given);
    } catch (error) {
      report(error);
    }
  };
}

// Runs one call of a function at a time; of those that come meanwhile, only
// the newest is run afterwards.
function newestWins(action) {
  let busy = false;
  let waiting = null;
  return async (...given) => {
    waiting = given;
    if (busy) return;
    busy = true;
    try {
      while (waiting) {
        const next = waiting;
        waiting = null;
        await action(...next);
      }
    } finally {
      busy = false;
    }
  };
}

const zip = (nested, other, combine) =>
  Array.isArray(nested)
    ? nested.map((value, i) => zip(value, other[i], combine))
    : combine(nested, other);

const number = (value) => {
  if (!Number.isFinite(value)) return "undefined";
  if (Number.isInteger(value)) return value.toLocaleString("en");
  return String(Number(value.toPrecision(4)));
};

// ---- requests ---------------------------------------------------------------

async function request(url, body) {
  let answer;
  let text;
  try {
    // A body of text/plain, which it is without a header, spares the question
    // whether other pages may ask; servers do not look at the type.
    answer = await fetch(url, {
      method: body ? "POST" : "GET",
      body: body && JSON.stringify(body),
      signal: AbortSignal.timeout(TIMEOUT),
    });
    text = await answer.text();
  } catch (error) {
    const place = new URL(url, location).origin;
    if (error.name === "TimeoutError") {
      throw new Problem(`${place} has not answered within 30 seconds.`);
    }
    throw new Problem(
      `${place} does not answer. Does it run there` +
        (place === location.origin
          ? "?"
          : ", and does it allow other pages (--rest_api_enable_cors_support)?")
    );
  }
  const found = parse(text);
  if (!answer.ok || found === undefined) {
    const said = found?.error ?? `it answers ${answer.status}`;
    const problem = new Problem(`The server refused: ${sentence(said)}`);
    problem.status = answer.status;
    throw problem;
  }
  return found;
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    // Protocol buffers write what is not finite without quotes.
    try {
      return JSON.parse(text.replace(/-?\b(NaN|Infinity)\b/g, "null"));
    } catch {
      return undefined;
    }
  }
}

// ---- the model --------------------------------------------------------------

// What the page knows of a model, from its signatures and, where there is one,
// its card.
class Model {
  constructor(path, name, signatures, entry = {}) {
    const { card = null, samples = [] } = entry;
    const { encode, decode } = signatures;
    if (!encode || !decode) {
      const there = Object.keys(signatures).filter((n) => !n.startsWith("__"));
      throw new Problem(
        `${name} has no encode and decode to play with; it has: ` +
          `${there.join(", ") || "no signatures"}.`
      );
    }
    Object.assign(this, { path, name, signatures, card, samples });
    this.parts = card?.parts ?? innerShapes(decode.inputs);
    this.units = card?.units ?? guessedUnits(this.parts, signatures.swap);
    this.imageShape = innerShapes(decode.outputs).image;
    this.takesLabel = "label" in encode.inputs;
    this.readsFiles = "encode_bytes" in signatures;
    this.writesFiles = "decode_bytes" in signatures;
    this.codes = Object.keys(this.parts).filter(
      (part) => this.parts[part].length === 1
    );
    this.owner = unitOfEntry(this.parts, this.units);
    const classes = this.parts.label?.[0] ?? card?.dataset?.num_classes;
    const names = card?.dataset?.class_names;
    this.classNames = names?.length
      ? names
      : Array.from({ length: classes ?? 0 }, (_, i) => String(i));
  }

  // {low, high, mean} of an entry.
  range(part, entry) {
    const known = this.card?.ranges?.parts[part];
    if (!known) return { low: -REACH, high: REACH, mean: 0 };
    const { low, high, mean } = known;
    return { low: low[entry], high: high[entry], mean: mean[entry] };
  }

  // Numbers of the entries that vary most, in ascending order.
  widest(part) {
    const entries = Array.from({ length: this.parts[part][0] }, (_, i) => i);
    const spread = this.card?.ranges?.parts[part]?.std;
    if (spread) entries.sort((a, b) => spread[b] - spread[a]);
    return entries.slice(0, WIDEST).sort((a, b) => a - b);
  }

  // What an entry is called beside the name of its part.
  entryName(part, entry) {
    const named = part === "label" && this.classNames[entry];
    return named || String(entry);
  }

  async predict(signature, rows) {
    const { predictions } = await request(`${this.path}:predict`, {
      signature_name: signature,
      instances: rows,
    });
    const names = Object.keys(this.signatures[signature].outputs);
    return names.length === 1
      ? predictions.map((value) => ({ [names[0]]: value }))
      : predictions;
  }

  async encode(image, label) {
    const given = this.takesLabel ? { label } : {};
    const [parts] = this.readsFiles
      ? await this.predict("encode_bytes", [
          { image_bytes: { b64: image.base64 }, ...given },
        ])
      : await this.predict("encode", [
          { image: await pixels(image.url, this.imageShape), ...given },
        ]);
    return parts;
  }

  // Addresses of the pictures of several codes.
  async decode(rows) {
    if (!this.writesFiles) return this.fromPixels("decode", rows);
    const found = await this.predict("decode_bytes", rows);
    return found.map((row) => `data:image/png;base64,${row.image_bytes.b64}`);
  }

  async sample() {
    const seed = [0, 1].map(() => Math.floor(Math.random() * 2 ** 31));
    const [url] = await this.fromPixels("sample", [{ seed }]);
    return { url, base64: url.split(",")[1], name: "a sample of the prior" };
  }

  async fromPixels(signature, rows) {
    const found = await this.predict(signature, rows);
    return found.map((row) => drawn(row.image));
  }
}

function innerShapes(specs) {
  const shapes = Object.entries(specs).map(([name, spec]) => [
    name,
    (spec.tensor_shape.dim ?? []).slice(1).map((dim) => Number(dim.size)),
  ]);
  return Object.fromEntries(shapes);
}

// Without a card: every entry of a code, where there are so many columns to
// mix; else every part.
function guessedUnits(parts, swap) {
  const names = Object.keys(parts);
  const columns = swap && innerShapes(swap.inputs).mix?.[0];
  const entries = names.flatMap((name) =>
    parts[name].length === 1
      ? Array.from({ length: parts[name][0] }, (_, i) => `${name}[${i}]`)
      : [name]
  );
  const chosen = columns === entries.length ? entries : names;
  return Object.fromEntries(chosen.map((name) => [name, [name]]));
}

// {part: the unit it belongs to, or one unit an entry}.
function unitOfEntry(parts, units) {
  const owner = {};
  for (const [unit, references] of Object.entries(units)) {
    for (const reference of references) {
      const [, part, entry] = reference.match(/^(.*)\[(\d+)\]$/) ?? [];
      if (part in parts) (owner[part] ??= [])[Number(entry)] = unit;
      else owner[reference] = unit;
    }
  }
  return owner;
}

async function listModels() {
  // Nothing but a `serving.run` has this list.
  const found = await request("/page/models").catch(() => []);
  return Array.isArray(found) ? found : [];
}

async function loadModel({ server = "", name, version = "", entry }) {
  const which = !version
    ? ""
    : /^\d+$/.test(version)
      ? `/versions/${version}`
      : `/labels/${encodeURIComponent(version)}`;
  const path = `${server}/v1/models/${encodeURIComponent(name)}${which}`;
  const { metadata } = await request(`${path}/metadata`);
  const signatures = metadata.signature_def.signature_def;
  return new Model(path, name, signatures, entry);
}

// The card and the samples of a model of this page's own server.
function ownEntry({ name, card }) {
  const base = `/page/models/${encodeURIComponent(name)}/`;
  const samples = (card?.samples ?? []).map(({ file, label }) => ({
    url: base + file,
    label,
  }));
  return { card, samples };
}

// ---- images -----------------------------------------------------------------

// {url, base64, name} of a file that the reader chose.
async function readFile(file) {
  const asIs = file.type === "image/png" && file.size <= LARGE_FILE;
  const url = asIs ? await dataUrl(file) : await redrawn(file);
  return { url, base64: url.split(",")[1], name: file.name };
}

function dataUrl(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(new Problem("The file cannot be read."));
    reader.readAsDataURL(blob);
  });
}

async function redrawn(file) {
  const bitmap = await createImageBitmap(file).catch(() => {
    throw new Problem(`${file.name} is not an image.`);
  });
  const scale = Math.min(1, LARGE_SIDE / Math.max(bitmap.width, bitmap.height));
  const canvas = element("canvas", {
    width: Math.round(bitmap.width * scale),
    height: Math.round(bitmap.height * scale),
  });
  const context = canvas.getContext("2d");
  // Transparent places would become black.
  context.fillStyle = "white";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL("image/png");
}

async function readUrl({ url, label }) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Problem("The sample image is gone.");
  const read = await dataUrl(await answer.blob());
  return { url: read, base64: read.split(",")[1], label };
}

// Nested numbers in [0, 1] of an image, for a model that reads no files.
async function pixels(url, [height, width, channels]) {
  const image = element("img", { src: url });
  await image.decode();
  const canvas = element("canvas", { width, height });
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0, width, height);
  const { data } = context.getImageData(0, 0, width, height);
  const pixel = (y, x) => {
    const [r, g, b] = data.slice(4 * (y * width + x), 4 * (y * width + x) + 3);
    const grey = (0.299 * r + 0.587 * g + 0.114 * b) / 255;
    if (channels === 3) return [r / 255, g / 255, b / 255];
    return new Array(channels).fill(grey);
  };
  return Array.from({ length: height }, (_, y) =>
    Array.from({ length: width }, (_, x) => pixel(y, x))
  );
}

// Address of a picture of nested numbers; of other channels than 1 or 3, the
// first is shown.
function drawn(rows) {
  const [height, width] = [rows.length, rows[0].length];
  const canvas = element("canvas", { width, height });
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  rows.flat().forEach((pixel, i) => {
    const colour = pixel.length === 3 ? pixel : [pixel[0], pixel[0], pixel[0]];
    const bytes = colour.map((v) => 255 * Math.min(1, Math.max(0, v)));
    image.data.set([...bytes, 255], 4 * i);
  });
  context.putImageData(image, 0, 0);
  return canvas.toDataURL("image/png");
}

// ---- what is played with ----------------------------------------------------

let model = null;
// {image, label, parts} of both places.
let slots = {};
// {unit: weight of the target}.
let mix = {};
// The parts of the picture.
let code = {};
// Units with an entry that was moved by hand.
let edited = new Set();
let marked = "source";

// Mixes the units of source and target into the code.
function mixUnits(units) {
  if (!slots.source) return;
  // Until there is another image, the target is the source.
  const { source, target = source } = slots;
  const one = (unit, old, from, to) =>
    units.has(unit)
      ? zip(from, to, (a, b) => (1 - mix[unit]) * a + mix[unit] * b)
      : old;
  for (const [part, owner] of Object.entries(model.owner)) {
    const from = source.parts[part];
    const to = target.parts[part];
    code[part] = Array.isArray(owner)
      ? owner.map((u, i) => one(u, code[part]?.[i], from[i], to[i]))
      : one(owner, code[part], from, to);
  }
  for (const unit of units) edited.delete(unit);
}

const show = newestWins(
  reporting(async () => {
    const shown = model;
    const started = performance.now();
    const [url] = await shown.decode([code]);
    if (shown !== model) return;
    const picture = find("#picture");
    picture.src = url;
    await picture.decode();
    const took = performance.now() - started;
    find("#time").textContent = `${took.toFixed(0)} ms`;
    find("#save").href = url;
    allIsWell();
  })
);

function codeChanged() {
  find("#caption").textContent = caption();
  show();
  traverseLater();
}

function caption() {
  if (!slots.source) return "no source yet: every code at its middle";
  const units = Object.keys(mix);
  const taken = units.filter((unit) => mix[unit] === 1);
  const between = units.filter((unit) => mix[unit] > 0 && mix[unit] < 1);
  const said = [];
  if (taken.length === units.length) said.push("all of the target");
  else if (taken.length) said.push(`${few(taken)} of the target`);
  if (between.length) said.push(`${few(between)} in between`);
  if (!said.length) said.push("all of the source");
  else if (taken.length + between.length < units.length) {
    said.push("the rest of the source");
  }
  if (edited.size) said.push(`${few([...edited])} changed by hand`);
  return said.join(", ");
}

const few = (names) =>
  names.length <= 3 ? names.join(" and ") : `${names.length} units`;

// ---- source and target ------------------------------------------------------

async function place(which, image) {
  // The one that is shown, which may have been chosen before the image.
  const chosen = find("select", find(`#${which}`)).value;
  const label = image.label ?? Number(chosen);
  const shown = model;
  const parts = await shown.encode(image, label);
  if (shown !== model) return;
  slots[which] = { image, label, parts };
  drawSlot(which);
  if (slots.source) {
    mixUnits(new Set(Object.keys(mix)));
    moveSliders();
    codeChanged();
  }
}

function drawSlot(which) {
  const figure = find(`#${which}`);
  const slot = slots[which];
  const drop = find(".drop", figure);
  drop.replaceChildren(
    slot
      ? element("img", { src: slot.image.url, alt: `${which} image` })
      : element("span", { textContent: "Drop an image" })
  );
  drop.setAttribute("aria-pressed", String(marked === which));
  drop.setAttribute("aria-label", `Mark the ${which}`);
  if (slot && model.takesLabel) find("select", figure).value = slot.label;
}

function prepareSlot(which) {
  const figure = find(`#${which}`);
  const put = reporting(async (file) => place(which, await readFile(file)));
  find(".drop", figure).addEventListener("click", () => {
    marked = which;
    drawSlot("source");
    drawSlot("target");
  });
  find("input[type=file]", figure).addEventListener("change", (event) => {
    const [file] = event.target.files;
    event.target.value = "";
    if (file) put(file);
  });
  figure.addEventListener("dragover", (event) => {
    event.preventDefault();
    figure.classList.add("over");
  });
  for (const gone of ["dragleave", "drop"]) {
    figure.addEventListener(gone, () => figure.classList.remove("over"));
  }
  figure.addEventListener(
    "drop",
    reporting(async (event) => {
      event.preventDefault();
      const [file] = event.dataTransfer.files;
      const sample = event.dataTransfer.getData("text/x-sample");
      if (file) await put(file);
      else if (sample) {
        await place(which, await readUrl(model.samples[Number(sample)]));
      }
    })
  );
  find("select", figure).addEventListener(
    "change",
    reporting(async (event) => {
      const label = Number(event.target.value);
      const slot = slots[which];
      if (slot) await place(which, { ...slot.image, label });
    })
  );
}

function drawSamples() {
  const thumbnails = model.samples.map((sample, i) => {
    const name = model.classNames[sample.label] ?? `sample ${i + 1}`;
    const image = element("img", { src: sample.url, alt: name, title: name });
    const button = element("button", { draggable: true }, image);
    button.addEventListener(
      "click",
      reporting(async () => place(marked, await readUrl(sample)))
    );
    button.addEventListener("dragstart", (event) => {
      event.dataTransfer.setData("text/x-sample", String(i));
    });
    return button;
  });
  find("#samples").replaceChildren(...thumbnails);
  const dataset = model.card?.dataset?.name;
  find("#samples-hint").textContent = thumbnails.length
    ? `Samples${dataset ? ` of ${dataset}` : ""}: a click puts one into the ` +
      "marked place. Or drag one there, or a file of your own."
    : "Drop a file of your own into a place, or choose one.";
  find("#draw").hidden = !("sample" in model.signatures);
}

// ---- sliders ----------------------------------------------------------------

// Functions that put the sliders where the code is.
let movers = [];

function moveSliders() {
  for (const move of movers) move();
}

function slider(name, fullName, read, write) {
  const input = element("input", { type: "range", step: "any" });
  input.setAttribute("aria-label", fullName);
  const value = element("output");
  const row = element(
    "label",
    { className: "slider" },
    element("span", { textContent: name, title: fullName }),
    input,
    value
  );
  const move = () => {
    const { at, low, high } = read();
    Object.assign(input, { min: low, max: high, value: at });
    const share = high > low ? (at - low) / (high - low) : 0;
    input.style.setProperty("--at", `${100 * share}%`);
    value.textContent = at.toFixed(Math.abs(at) < 100 ? 2 : 0);
  };
  input.addEventListener("input", () => {
    write(input.valueAsNumber);
    move();
    codeChanged();
  });
  movers.push(move);
  return row;
}

function unitSlider(unit) {
  return slider(
    unit,
    `mix ${unit}`,
    () => ({ at: mix[unit], low: 0, high: 1 }),
    (at) => {
      mix[unit] = at;
      mixUnits(new Set([unit]));
      moveSliders();
    }
  );
}

function allUnitsSlider() {
  const weights = () => Object.values(mix);
  return slider(
    "all units",
    "mix all units",
    () => ({
      at: weights().reduce((a, b) => a + b, 0) / weights().length,
      low: 0,
      high: 1,
    }),
    (at) => {
      for (const unit of Object.keys(mix)) mix[unit] = at;
      mixUnits(new Set(Object.keys(mix)));
      moveSliders();
    }
  );
}

function entrySlider(part, entry) {
  return slider(
    model.entryName(part, entry),
    `${part}[${entry}]`,
    () => {
      const at = code[part][entry];
      const { low, high } = model.range(part, entry);
      return { at, low: Math.min(low, at), high: Math.max(high, at) };
    },
    (at) => setEntry(part, entry, at)
  );
}

function setEntry(part, entry, at) {
  code[part] = code[part].slice();
  code[part][entry] = at;
  const owner = model.owner[part];
  edited.add(Array.isArray(owner) ? owner[entry] : owner);
}

// Rows below each other whose names are equally wide.
function fillRows(list, names, rows) {
  const longest = Math.max(0, ...names.map((name) => name.length));
  list.style.setProperty("--name", `${Math.min(longest, 14) + 1}ch`);
  list.replaceChildren(...rows);
}

function drawUnits() {
  const names = Object.keys(model.units);
  const rows = names.map(unitSlider);
  if (names.length > 1) {
    names.push("all units");
    rows.push(allUnitsSlider());
  }
  fillRows(find("#units"), names, rows);
}

function drawCodes() {
  const panels = model.codes.map((part) => {
    const count = model.parts[part][0];
    const list = element("div", { className: "sliders" });
    const fill = (entries) =>
      fillRows(
        list,
        entries.map((entry) => model.entryName(part, entry)),
        entries.map((entry) => entrySlider(part, entry))
      );
    fill(model.widest(part));
    const title = element(
      "h3",
      {},
      part,
      element("small", {
        textContent:
          count > WIDEST ? `${WIDEST} of ${count}, those that vary most` : "",
      })
    );
    const panel = element("div", { className: "panel" }, title, list);
    if (count > WIDEST) {
      const more = element("button", { textContent: `Show all ${count}` });
      more.addEventListener("click", () => {
        fill(Array.from({ length: count }, (_, i) => i));
        moveSliders();
        find("small", title).textContent = `all ${count}`;
        more.remove();
      });
      panel.append(more);
    }
    return panel;
  });
  find("#codes").replaceChildren(...panels);
  const images = model.card?.ranges?.images;
  find("#codes-hint").textContent = images
    ? `Every entry with the range it has on ${number(images)} held-out images.`
    : `Every entry from -${REACH} to ${REACH}: the model card has no ranges.`;
}

// ---- traversal --------------------------------------------------------------

let traversedPart = null;
let traversalVisible = false;
let settling = 0;
let traversalIsOld = true;

function traverseLater() {
  traversalIsOld = true;
  clearTimeout(settling);
  settling = setTimeout(traverse, SETTLED);
}

// Values of an entry from its low end over the one it has to its high end.
function way(part, entry) {
  const at = code[part][entry];
  const { low, high } = model.range(part, entry);
  return Array.from({ length: STEPS }, (_, step) => {
    const position = (2 * step) / (STEPS - 1) - 1;
    const end = position < 0 ? Math.min(low, at) : Math.max(high, at);
    return at + Math.abs(position) * (end - at);
  });
}

const traverse = newestWins(
  reporting(async () => {
    if (!traversalVisible || !traversedPart || !traversalIsOld) return;
    traversalIsOld = false;
    const [shown, part, start] = [model, traversedPart, { ...code }];
    const entries = shown.widest(part);
    for (let first = 0; first < entries.length; first += ROWS_AT_ONCE) {
      const some = entries.slice(first, first + ROWS_AT_ONCE);
      const cells = some.flatMap((entry) =>
        way(part, entry).map((value) => ({ entry, value }))
      );
      const rows = cells.map(({ entry, value }) => ({
        ...start,
        [part]: start[part].with(entry, value),
      }));
      const urls = await shown.decode(rows);
      // Something has moved meanwhile: the rest would be of another code.
      if (shown !== model || traversalIsOld || part !== traversedPart) return;
      cells.forEach((cell, i) => drawCell(part, cell, i % STEPS, urls[i]));
    }
  })
);

function drawCell(part, { entry, value }, step, url) {
  const button = find(`#cell-${entry}-${step}`);
  button.dataset.value = value;
  button.title = `${part}[${entry}] = ${number(value)}`;
  button.replaceChildren(element("img", { src: url, alt: button.title }));
}

function drawTraversal() {
  const tabs = model.codes.map((part) => {
    const tab = element("button", { textContent: part });
    tab.setAttribute("role", "tab");
    tab.setAttribute("aria-selected", String(part === traversedPart));
    tab.addEventListener("click", () => {
      traversedPart = part;
      drawTraversal();
      traverseLater();
    });
    return tab;
  });
  find("#traversal-parts").replaceChildren(...(tabs.length > 1 ? tabs : []));
  if (!traversedPart) {
    find("#traversal").textContent = "No part of this model is a code.";
    return;
  }
  const entries = model.widest(traversedPart);
  const names = entries.map((entry) => model.entryName(traversedPart, entry));
  const rows = entries.map((entry, row) => {
    const cells = Array.from({ length: STEPS }, (_, step) => {
      const cell = element("button", { id: `cell-${entry}-${step}` });
      cell.addEventListener("click", () => {
        if (cell.dataset.value === undefined) return;
        setEntry(traversedPart, entry, Number(cell.dataset.value));
        moveSliders();
        codeChanged();
      });
      return cell;
    });
    const name = element("span", { textContent: names[row] });
    return element("div", { className: "strip" }, name, ...cells);
  });
  fillRows(find("#traversal"), names, rows);
}

// ---- the model card ---------------------------------------------------------

function drawCard() {
  const { card } = model;
  const shapes = Object.entries(model.parts).map(
    ([name, shape]) => `${name} [${shape.join(", ")}]`
  );
  const facts = [
    ["Model", card?.model ?? model.name],
    ["Data", card?.dataset?.description ?? card?.dataset?.name],
    ["Images", model.imageShape.join(" × ")],
    ["Parts", shapes.join(", ")],
    ["Units", Object.keys(model.units).join(", ")],
    [
      "Reconstruction",
      card?.reconstructs === false && "does not resemble the image, by design",
    ],
    ["Prior", "sample" in model.signatures ? "can be sampled" : "none"],
    ["Trained for", card?.configuration && training(card.configuration)],
    ["Made with", card?.versions && pairs(card.versions)],
  ];
  const rows = facts
    .filter(([, value]) => value)
    .flatMap(([name, value]) => [
      element("dt", { textContent: name }),
      element("dd", { textContent: value }),
    ]);
  const content = [element("dl", {}, ...rows)];
  if (!card) {
    content.push(
      element("p", {
        className: "hint",
        textContent:
          "There is no model card: parts are those of the signatures, units " +
          "and ranges are guessed.",
      })
    );
  }
  if (card?.scores && Object.keys(card.scores).length) {
    content.push(element("h3", { textContent: "Scores" }), scores(card.scores));
  }
  content.push(signatureTable());
  find("#card").replaceChildren(...content);
}

const pairs = (values) =>
  Object.entries(values)
    .map(([name, value]) => `${name} ${value}`)
    .join(", ");

const training = ({ steps, batch_size: size, seed }) =>
  `${number(steps)} steps of ${number(size)} (seed ${seed})`;

// Whatever was measured: a heading a group, a row a number.
function scores(found) {
  const body = element("tbody");
  const row = (name, text, note = "") =>
    body.append(
      element(
        "tr",
        {},
        element("td", { textContent: name }),
        element("td", { textContent: text }),
        element("td", { textContent: note })
      )
    );
  const line = (name, text) =>
    body.append(
      element(
        "tr",
        {},
        element("td", { textContent: name }),
        element("td", { textContent: text, colSpan: 2, className: "text" })
      )
    );
  const visit = (group, values) => {
    const entries = Object.entries(values);
    const leaves = entries.filter(([, v]) => isLeaf(v));
    if (leaves.length && group) {
      const heading = element("th", { colSpan: 3, textContent: group });
      body.append(element("tr", {}, heading));
    }
    for (const [name, value] of leaves) {
      if (typeof value?.mean === "number") {
        const { mean, low, high, std } = value;
        let note = "";
        if (low !== undefined) note = `${number(low)} to ${number(high)}`;
        else if (std !== undefined) note = `± ${number(std)}`;
        row(words(name), number(mean), note);
      } else if (typeof value === "number") {
        row(...measured(name, value));
      } else {
        const text = value === null ? "undefined" : [value].flat().join(", ");
        line(words(name), text);
      }
    }
    for (const [name, value] of entries) {
      if (!isLeaf(value)) {
        visit([group, words(name)].filter(Boolean).join(" › "), value);
      }
    }
  };
  visit("", found);
  return element("table", { className: "scores" }, body);
}

const isLeaf = (value) =>
  value === null ||
  typeof value !== "object" ||
  Array.isArray(value) ||
  typeof value.mean === "number";

const words = (name) => name.replaceAll("_", " ");

function measured(name, value) {
  if (name.endsWith("_bytes")) {
    return [words(name.slice(0, -6)), `${(value / 1e9).toFixed(2)} GB`];
  }
  if (name.endsWith("_seconds")) {
    return [words(name.slice(0, -8)), `${number(Math.round(value))} s`];
  }
  return [words(name), number(value)];
}

function signatureTable() {
  const listed = (specs) =>
    Object.entries(specs)
      .map(([name, { dtype, tensor_shape: shape }]) => {
        const sizes = (shape.dim ?? []).map(({ size }) =>
          Number(size) < 0 ? "B" : size
        );
        return `${name} ${dtype.slice(3).toLowerCase()} [${sizes.join(", ")}]`;
      })
      .join(", ");
  const rows = Object.entries(model.signatures)
    .filter(([name]) => !name.startsWith("__"))
    .sort()
    .map(([name, { inputs, outputs }]) =>
      element(
        "tr",
        {},
        element("td", { textContent: name }),
        element("td", { textContent: listed(inputs) }),
        element("td", { textContent: listed(outputs) })
      )
    );
  return element(
    "details",
    {},
    element("summary", { textContent: "Signatures" }),
    element("table", {}, element("tbody", {}, ...rows))
  );
}

// ---- start ------------------------------------------------------------------

async function use(given) {
  const loaded = await loadModel(given);
  model = loaded;
  slots = {};
  code = {};
  edited = new Set();
  marked = "source";
  mix = Object.fromEntries(Object.keys(model.units).map((unit) => [unit, 0]));
  movers = [];
  traversedPart = model.codes[0] ?? null;
  allIsWell();
  find("main").hidden = false;
  document.title = `${model.name} · tfdisent`;
  for (const id of ["source", "target"]) {
    const label = find(`#${id} .label`);
    label.hidden = !model.takesLabel;
    find("select", label).replaceChildren(
      ...model.classNames.map((name, i) => new Option(name, i))
    );
  }
  startingCode();
  drawSamples();
  drawUnits();
  drawCodes();
  drawTraversal();
  drawCard();
  drawSlot("source");
  drawSlot("target");
  moveSliders();
  find("#picture").removeAttribute("src");
  find("#time").textContent = "";
  const [first, second] = model.samples;
  if (first) await place("source", await readUrl(first));
  else codeChanged();
  if (second) await place("target", await readUrl(second));
  if (second) marked = "target";
  drawSlot("source");
  drawSlot("target");
}

// Before there is an image: the middle of what is known of the codes.
function startingCode() {
  const filled = ([size, ...inner]) =>
    Array.from({ length: size }, () => (inner.length ? filled(inner) : 0));
  for (const [part, shape] of Object.entries(model.parts)) {
    code[part] = filled(shape);
    if (shape.length === 1) {
      code[part] = code[part].map((_, i) => model.range(part, i).mean);
    }
  }
}

async function start() {
  prepareSlot("source");
  prepareSlot("target");
  new IntersectionObserver(([entry]) => {
    traversalVisible = entry.isIntersecting;
    if (traversalVisible) reporting(traverse)();
  }).observe(find("#traversal"));

  const own = await listModels();
  const chooser = find("#model");
  chooser.replaceChildren(...own.map(({ name }) => new Option(name, name)));
  chooser.closest("label").hidden = !own.length;
  const useOwn = (name) => {
    const listed = own.find((one) => one.name === name);
    history.replaceState(null, "", `?model=${encodeURIComponent(name)}`);
    chooser.value = name;
    return use({ name, entry: ownEntry(listed) });
  };
  chooser.addEventListener("change", reporting(() => useOwn(chooser.value)));

  const form = find("#connect");
  form.addEventListener(
    "submit",
    reporting(async (event) => {
      event.preventDefault();
      const server = form.server.value.trim().replace(/\/+$/, "");
      const [file] = form.card.files;
      const card = file ? await readCard(file) : null;
      const given = {
        server,
        name: form.model.value.trim(),
        version: form.version.value.trim(),
        entry: { card },
      };
      await use(given);
      find("#server").open = false;
      chooser.value = "";
    })
  );

  find("#exchange").addEventListener("click", () => {
    if (!slots.source || !slots.target) return;
    slots = { source: slots.target, target: slots.source };
    mixUnits(new Set(Object.keys(mix)));
    drawSlot("source");
    drawSlot("target");
    moveSliders();
    codeChanged();
  });
  find("#reset").addEventListener("click", () => {
    if (!slots.source) return;
    for (const unit of Object.keys(mix)) mix[unit] = 0;
    mixUnits(new Set(Object.keys(mix)));
    moveSliders();
    codeChanged();
  });
  find("#draw").addEventListener(
    "click",
    reporting(async () => place(marked, await model.sample()))
  );

  const wanted = new URLSearchParams(location.search);
  if (wanted.get("server")) {
    form.server.value = wanted.get("server");
    form.model.value = wanted.get("model") ?? "";
    form.version.value = wanted.get("version") ?? "";
    find("#server").open = true;
    if (form.model.value) form.requestSubmit();
    return;
  }
  if (!own.length) {
    find("#server").open = true;
    throw new Problem(
      "This server lists no models. Type the address of a TensorFlow Serving " +
        "and the name of a model it has."
    );
  }
  const named = own.find(({ name }) => name === wanted.get("model"));
  const playable = own.find(({ card }) => card) ?? own[0];
  await useOwn((named ?? playable).name);
}

async function readCard(file) {
  const card = parse(await file.text());
  if (!card?.parts || !card?.units) {
    throw new Problem(
      `${file.name} is no model card; it is the model_card.json in ` +
        "assets.extra of an exported version."
    );
  }
  return card;
}

reporting(start)();
