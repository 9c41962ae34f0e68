// The page: one plant, one run, and every control.

const page = JSON.parse(document.getElementById("data").textContent);
const find = (id) => document.getElementById(id);
const task = new Task(page.machine, page.letters);
const grown = new Network(page.graph);

const view = {
  network: grown, // the plant's own, or one loaded from a file
  run: null,
  t: 0,
  chosen: null, // a node
  playing: 0, // a timer
  whole: false, // whether what was pruned away is shown
  pictures: {},
  picture: null,
};
const analyser = new Analyser(find("lanes"), find("ruler"), (t) => go(t));

// ---- the run

function start(source) {
  pause();
  view.run = new Run(view.network, task, source);
  view.t = 0;
  const kind = source.kind;
  find("source").value = kind;
  if (kind === "random") find("seed").value = source.seed;
  if (kind === "typed") find("word").value = source.text;
  for (const name of ["random", "typed", "hand"]) find(`of-${name}`).hidden = name !== kind;
  refuse("");
  analyser.use(signals(), view.run);
  view.run.at(0);
  show();
}

// Start on what the controls say; what is not legal is refused with the reason.
function startTyped(text) {
  try {
    start({ kind: "typed", text });
    return true;
  } catch (error) {
    refuse(error.message);
    return false;
  }
}

function go(t) {
  if (t < 0 || !view.run.at(t)) return false;
  view.t = t;
  show();
  return true;
}

function step() {
  const moved = go(view.t + 1);
  if (!moved || view.run.steps[view.t].wrong.length) pause();
  return moved;
}

function play() {
  if (view.playing) return pause();
  if (!view.run.at(view.t + 1)) go(0);
  find("play").textContent = "Pause";
  find("play").setAttribute("aria-pressed", "true");
  const tick = () => {
    view.playing = setTimeout(tick, 1000 / speed());
    step();
  };
  view.playing = setTimeout(tick, 1000 / speed());
}

function pause() {
  clearTimeout(view.playing);
  view.playing = 0;
  find("play").textContent = "Play";
  find("play").setAttribute("aria-pressed", "false");
}

// Steps a second: 1/2 to 64, by a slider of exponents.
function speed() {
  return 2 ** Number(find("speed").value);
}

function flip(node) {
  pause();
  try {
    const run = view.run.flipped(view.t, view.network.inputs.indexOf(node));
    const t = view.t;
    start(run.source);
    go(t);
  } catch (error) {
    refuse(error.message);
  }
}

function refuse(reason) {
  find("refusal").textContent = reason;
  find("refusal").hidden = !reason;
}

// ---- showing it

function signals() {
  const { network } = view;
  const nodes = network.nodes.map((node, i) => ({
    key: `n${i}`,
    name: node.name,
    bit: node.kind === "input",
    read: (step) => step.values[i],
  }));
  const expected = task.outputs.map((name, k) => ({
    key: `e${k}`,
    name: `${name} expected`,
    bit: true,
    read: (step) => ({ 0: -1, 1: 1 })[step.expected[k]] ?? NaN,
  }));
  const state = { key: "state", name: "state of the task", bit: false, read: (step) => step.state };
  return [...nodes, ...expected, state];
}

function show() {
  const { run, t, network } = view;
  const now = run.steps[t];
  view.picture.paint(now.values);
  view.picture.mark("wrong", now.wrong.map((k) => network.heads[k]));
  view.picture.mark("chosen", view.chosen === null ? [] : [view.chosen]);
  showStep(find("step-now"), run, t);
  find("status").textContent = view.playing ? "" : sentence(run, t);
  const wrong = now.wrong.length ? t : run.firstWrong();
  find("alert").hidden = wrong < 0;
  find("alert").textContent = wrong < 0 ? "" : now.wrong.length ? `Wrong at step ${t}.` : `Wrong at step ${wrong}; this is step ${t}.`;
  find("alert").classList.toggle("now", now.wrong.length > 0);
  const end = Math.max(run.steps.length - 1, Number.isFinite(run.length) ? run.length - 1 : 0);
  find("scrub").max = end;
  find("scrub").value = t;
  find("scrub").setAttribute("aria-valuetext", `step ${t} of ${end}`);
  find("at").textContent = `${t} / ${Number.isFinite(run.length) ? end : "∞"}`;
  lightMachine(find("machine"), now);
  if (page.logic && network === grown) {
    const own = automatonState(page.logic, network, now.values);
    find("automaton-now").textContent = own ? `The network's own automaton: state ${own.state}.` : "";
  }
  if (view.chosen !== null) showNode(find("node-now"), run, t, view.chosen, signalOf(view.chosen));
  analyser.show(t);
  remember();
}

function signalOf(i) {
  if (!page.logic || view.network !== grown) return null;
  return page.logic.signals.find((signal) => signal.node === grown.nodes[i].name) ?? null;
}

function choose(i) {
  view.chosen = i;
  find("node").open = true;
  find("watch").hidden = false;
  find("watch").textContent = analyser.has(`n${i}`) ? "Hide in the analyser" : "Show in the analyser";
  show();
}

function light(line, nodes) {
  for (const row of document.querySelectorAll("#program-lines .lit")) row.classList.remove("lit");
  if (line !== null) document.querySelector(`#program-lines [data-line="${line}"]`)?.classList.add("lit");
  view.picture.mark("lit", nodes);
}

function lightNode(i) {
  light(signalOf(i)?.line ?? null, [i]);
}

function lightLine(line) {
  if (view.network !== grown) return;
  const names = page.logic.signals.filter((signal) => signal.line === line).map((signal) => signal.node);
  light(line, grown.nodes.flatMap((node, i) => (names.includes(node.name) ? [i] : [])));
}

// ---- pictures

function use(network, root, prefix) {
  view.network = network;
  for (const picture of find("graph").querySelectorAll(":scope > svg")) picture.setAttribute("hidden", "");
  if (!root.isConnected) find("graph").append(root);
  root.removeAttribute("hidden");
  view.pictures[prefix] ??= watched(new Picture(root, network, prefix));
  view.picture = view.pictures[prefix];
  view.picture.fit();
}

function watched(picture) {
  picture.nodes.forEach((group, i) => {
    const act = () => (picture.network.nodes[i].kind === "input" ? (flip(i), choose(i)) : choose(i));
    group.addEventListener("click", act);
    group.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      event.stopPropagation();
      act();
    });
    for (const [on, off] of [["pointerenter", "pointerleave"], ["focus", "blur"]]) {
      group.addEventListener(on, () => lightNode(i));
      group.addEventListener(off, () => light(null, []));
    }
  });
  return picture;
}

function showOwn() {
  view.whole = find("whole")?.checked ?? false;
  const name = view.whole ? "w-" : "g-";
  use(grown, find(view.whole ? "whole-graph" : "own-graph"), name);
}

// ---- graphs from files

function load(text, name) {
  let found;
  try {
    found = readGraph(text, task.inputs.length, task.outputs.length);
    if (found.word) task.parse(found.word);
  } catch (error) {
    find("file-said").textContent = error.message;
    return;
  }
  find("graph").querySelector("#loaded-graph")?.remove();
  delete view.pictures["l-"];
  const root = drawn(found.network, "l-");
  root.id = "loaded-graph";
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", `The graph of ${name}`);
  view.chosen = null;
  find("node-now").replaceChildren(element("p", "Choose a node of the graph."));
  use(found.network, root, "l-");
  find("files").open = true;
  find("file-said").textContent = `Shown: ${name}.`;
  find("guest").textContent = `A graph from the file ${name}, not this plant's own.`;
  find("guest").hidden = false;
  document.body.classList.add("loaded");
  find("own").hidden = false;
  if (found.word) startTyped(found.word);
  else start(view.run.source);
  lanes();
}

function own() {
  document.body.classList.remove("loaded");
  find("own").hidden = true;
  find("guest").hidden = true;
  find("file-said").textContent = "";
  view.chosen = null;
  find("node-now").replaceChildren(element("p", "Choose a node of the graph."));
  showOwn();
  start(view.run.source);
  lanes();
}

function lanes() {
  for (const lane of [...analyser.lanes]) analyser.remove(lane.key);
  const { inputs, heads } = view.network;
  for (const i of inputs) analyser.add(`n${i}`);
  heads.forEach((head, k) => {
    analyser.add(`e${k}`);
    analyser.add(`n${head}`);
  });
  find("signal").replaceChildren(element("option", "add a signal", { value: "" }));
  for (const { key, name } of signals()) find("signal").append(element("option", name, { value: key }));
}

function save(text, name, kind) {
  const link = element("a", "", { download: name });
  link.href = URL.createObjectURL(new Blob([text], { type: kind }));
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

// ---- the address's fragment: plant, step and input

function remember() {
  if (view.playing) return;
  const { source } = view.run;
  const fragment = new URLSearchParams({ plant: page.plant, step: view.t });
  if (source.kind === "random") fragment.set("seed", source.seed);
  if (source.kind === "typed") fragment.set("word", source.text);
  if (source.kind === "hand") fragment.set("hand", task.text(source.symbols));
  view.fragment = `#${fragment}`;
  history.replaceState(null, "", view.fragment);
}

function recall() {
  if (location.hash === view.fragment) return;
  const fragment = new URLSearchParams(location.hash.slice(1));
  const [seed, wanted] = [Number(fragment.get("seed") ?? 1), Number(fragment.get("step") ?? 0)];
  let said = "";
  const plant = fragment.get("plant");
  if (plant !== null && plant !== page.plant) said = `The address is of plant ${plant}; this page shows ${page.plant}.`;
  try {
    if (!said && fragment.has("word")) start({ kind: "typed", text: fragment.get("word") });
    else if (!said && fragment.has("hand")) start({ kind: "hand", symbols: task.parse(fragment.get("hand")) });
    else if (!said && !fragment.has("seed") && page.counterexample) start({ kind: "typed", text: counterexample() });
    else start({ kind: "random", seed: Number.isInteger(seed) ? seed : 1 });
    if (!said && Number.isInteger(wanted) && wanted <= LONGEST_WORD) go(wanted);
  } catch (error) {
    start({ kind: "random", seed: 1 });
    said = error.message;
  }
  if (said) refuse(said);
}

function counterexample() {
  return task.text(page.counterexample.map((symbol) => task.number.get(symbol)));
}

// ---- controls

const zoomBy = (factor) => view.picture.scaleBy(factor);
const faster = (by) => {
  find("speed").value = Number(find("speed").value) + by;
  tellSpeed();
};
const tellSpeed = () => (find("speed-now").textContent = `${speed() < 1 ? "½" : speed()} a second`);
const end = () => go(Math.max(view.run.steps.length - 1, Number.isFinite(view.run.length) ? view.run.length - 1 : 0));

const KEYS = {
  " ": play,
  ArrowRight: () => (pause(), step()),
  ArrowLeft: () => (pause(), go(view.t - 1)),
  Home: () => (pause(), go(0)),
  End: () => (pause(), end()),
  "[": () => faster(-1),
  "]": () => faster(1),
  "+": () => zoomBy(1.3),
  "-": () => zoomBy(1 / 1.3),
  0: () => view.picture.fit(),
  w: () => view.picture.panBy(0, 40),
  s: () => view.picture.panBy(0, -40),
  a: () => view.picture.panBy(40, 0),
  d: () => view.picture.panBy(-40, 0),
};

function control() {
  const click = (id, act) => find(id).addEventListener("click", act);
  click("play", play);
  click("step", KEYS.ArrowRight);
  click("back", KEYS.ArrowLeft);
  click("reset", KEYS.Home);
  click("zoom-in", KEYS["+"]);
  click("zoom-out", KEYS["-"]);
  click("fit", KEYS[0]);
  find("speed").addEventListener("input", tellSpeed);
  find("scrub").addEventListener("input", (event) => (pause(), go(Number(event.target.value))));
  find("source").addEventListener("change", (event) => {
    const kind = event.target.value;
    const symbols = view.run.steps.map((done) => done.symbol);
    if (kind === "random") start({ kind, seed: Number(find("seed").value) >>> 0 });
    else if (kind === "typed") startTyped(find("word").value || task.text(symbols));
    else start({ kind, symbols });
  });
  find("seed").addEventListener("change", (event) => start({ kind: "random", seed: Number(event.target.value) >>> 0 }));
  click("reseed", () => start({ kind: "random", seed: (Number(find("seed").value) + 1) >>> 0 }));
  find("of-typed").addEventListener("submit", (event) => {
    event.preventDefault();
    startTyped(find("word").value);
  });
  find("counterexample")?.addEventListener("click", () => startTyped(counterexample()));
  find("whole")?.addEventListener("change", () => (view.network === grown ? (showOwn(), show()) : own()));
  click("watch", () => {
    const key = `n${view.chosen}`;
    if (analyser.has(key)) analyser.remove(key);
    else analyser.add(key);
    choose(view.chosen);
  });
  find("signal").addEventListener("change", (event) => {
    analyser.add(event.target.value);
    event.target.value = "";
  });
  click("lanes-in", () => analyser.zoom(2));
  click("lanes-out", () => analyser.zoom(0.5));
  click("lanes-all", () => analyser.unzoom());
  click("vcd", () => save(analyser.vcd(page.plant), `${page.plant}.vcd`, "text/plain"));
  click("save", () => {
    const graph = { kind: "bonsai graph", schema: 1, ...view.network.graph };
    save(`${JSON.stringify(graph, null, 1)}\n`, `${page.plant}.json`, "application/json");
  });
  find("file").addEventListener("change", async (event) => {
    const [file] = event.target.files;
    event.target.value = "";
    if (file) load(await file.text(), file.name);
  });
  click("own", own);
  click("theme", () => {
    const dark = getComputedStyle(document.documentElement).getPropertyValue("--is-dark").trim() === "1";
    document.documentElement.dataset.theme = dark ? "light" : "dark";
    show();
  });
  for (const line of document.querySelectorAll("#program-lines [data-line]")) {
    for (const on of ["pointerenter", "focus"]) line.addEventListener(on, () => lightLine(Number(line.dataset.line)));
    for (const off of ["pointerleave", "blur"]) line.addEventListener(off, () => light(null, []));
  }
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.matches("input, select, textarea")) return;
    if (event.key === " " && event.target.closest("button, summary, a")) return;
    const act = KEYS[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
  addEventListener("hashchange", recall);
  new ResizeObserver(() => view.picture.fit()).observe(find("graph"));
}

showOwn();
control();
tellSpeed();
recall();
lanes();
show();
window.explorer = { Network, Run, Task, task, network: grown, view, readGraph }; // for the console
