// What stands beside the graph: the step, one node, the program, the machine's state.

function element(tag, text = "", attributes = {}) {
  const made = document.createElement(tag);
  made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

// The step's inputs, and each output expected and found.
function showStep(container, run, t) {
  const { task, network } = run;
  const step = run.steps[t];
  const rows = task.outputs.map((name, k) => {
    const value = step.values[network.heads[k]];
    const bit = value > 0 ? "1" : value < 0 ? "0" : "neither";
    const wrong = step.wrong.includes(k);
    const expected = step.expected[k];
    const row = element("tr", "", wrong ? { class: "bad" } : {});
    row.append(
      element("th", name, { scope: "row" }),
      element("td", expected === "-" ? "any" : expected),
      element("td", `${bit} (${shown(value)})`),
      element("td", wrong ? "✗ wrong" : "✓"),
    );
    return row;
  });
  const head = element("tr");
  for (const title of ["output", "expected", "network", ""]) head.append(element("th", title, { scope: "col" }));
  const table = element("table");
  table.append(head, ...rows);
  const read = element("p");
  read.append(
    element("b", `Step ${t}`),
    ` reads ${task.named(step.symbol) || "no input"}; the task goes from state ${task.states[step.state]} to ${task.states[step.after]}.`,
  );
  container.replaceChildren(read, table);
}

function sentence(run, t) {
  const { task, network } = run;
  const step = run.steps[t];
  const outputs = task.outputs.map((name, k) => {
    const found = step.values[network.heads[k]] > 0 ? 1 : 0;
    return `${name} is ${found}, ${step.wrong.includes(k) ? `wrong, expected ${step.expected[k]}` : "right"}`;
  });
  return `Step ${t}: ${[task.named(step.symbol), ...outputs].filter(Boolean).join("; ")}.`;
}

// Node i at a step: its sum term by term, its activation, and what `extract` found about it.
function showNode(container, run, t, i, signal) {
  const { network } = run;
  const node = network.nodes[i];
  const { values } = run.steps[t];
  const kinds = {
    input: "an input",
    state: "a state: what its neuron was at the step before",
    output: "a neuron whose value is handed on",
    recurrent: "a neuron whose value becomes a state",
    head: "an output, read by its sign",
  };
  const title = element("p");
  title.append(element("b", node.name), ` is ${kinds[node.kind]}; now ${short(values[i])}.`);
  const found = [title];
  if (node.kind === "state") {
    const from = network.nodes[network.feedback.get(i)].name;
    found.push(element("p", `Fed by ${from}; it starts at ${short(node.initial)}.`));
  } else if (node.kind !== "input") {
    const total = network.sum(i, values);
    const table = element("table", "", { class: "terms" });
    const head = element("tr");
    for (const name of ["from", "weight", "value", "product"]) head.append(element("th", name, { scope: "col" }));
    table.append(head);
    for (const { source, weight } of network.incoming[i]) {
      const row = element("tr");
      row.append(element("th", network.nodes[source].name, { scope: "row" }));
      for (const value of [weight, values[source], f32(weight * values[source])]) {
        row.append(element("td", short(value)));
      }
      table.append(row);
    }
    for (const [name, value] of [["bias", node.bias], ["sum", total]]) {
      const row = element("tr", "", { class: name });
      row.append(element("th", name, { scope: "row", colspan: 3 }), element("td", short(value)));
      table.append(row);
    }
    found.push(table);
    if (node.kind !== "head") found.push(activationCurve(network, total, values[i]));
  }
  if (signal) found.push(...levels(signal, values[i]));
  container.replaceChildren(...found);
}

function levels(signal, value) {
  const found = [];
  if (signal.levels.length) {
    const now = signal.levels.findIndex(([low, high]) => value >= low && value <= high);
    const list = element("ol", "", { class: "levels" });
    signal.levels.forEach(([low, high], k) => {
      const range = low === high ? short(low) : `${short(low)} to ${short(high)}`;
      const item = element("li", `${range} means ${signal.values[k]}`);
      if (k === now) item.className = "now";
      list.append(item);
    });
    found.push(element("p", "Levels that it can take, on any input:"), list);
  }
  if (signal.function !== null) {
    const line = element("p", "As a function: ");
    line.append(element("code", signal.function));
    found.push(line);
  }
  if (signal.line !== null) {
    const name = signal.signal === null ? "" : `, ${signal.signal}`;
    found.push(element("p", `Program: line ${signal.line + 1}${name}.`));
  }
  return found;
}

// The activation's curve with the point (sum, value) on it.
function activationCurve(network, total, value) {
  const [width, height] = [280, 110];
  const reach = Math.max(4.5, Math.abs(total) * 1.1);
  const top = Math.max(1.3, Math.abs(value) * 1.2);
  const x = (v) => (width / 2) * (1 + v / reach);
  const y = (v) => (height / 2) * (1 - v / top);
  const points = Array.from({ length: 281 }, (_, k) => {
    const v = f32(reach * ((2 * k) / 280 - 1));
    return `${x(v).toFixed(1)},${y(network.activation(v)).toFixed(1)}`;
  });
  const label = `The activation: a sum of ${shown(total)} gives ${shown(value)}`;
  const dot = svg("circle", { cx: x(total), cy: y(value), r: 5, stroke: "currentColor" });
  dot.style.fill = colour(value);
  return svg(
    "svg",
    { viewBox: `0 0 ${width} ${height}`, class: "curve", role: "img", "aria-label": label },
    svg("path", { d: `M0,${height / 2}H${width}M${width / 2},0V${height}`, class: "axis" }),
    svg("path", { d: `M${x(total)},${height / 2}V${y(value)}`, class: "guide" }),
    svg("polyline", { points: points.join(" "), fill: "none", class: "line" }),
    dot,
  );
}

// Light the state that the machine is in, and the arrow that it takes.
function lightMachine(root, step) {
  for (const lit of root.querySelectorAll(".lit")) lit.classList.remove("lit");
  for (const id of [`m-q${step.state}`, `m-t${step.state}-${step.after}`]) {
    root.querySelector(`#${id}`)?.classList.add("lit");
  }
}

// The state of the network's own automaton in which all states have these levels, or undefined.
function automatonState(logic, network, values) {
  const level = new Map();
  for (const signal of logic.signals) {
    const i = network.nodes.findIndex((node) => node.name === signal.node);
    if (i >= 0) level.set(signal.node, signal.levels.findIndex(([low, high]) => values[i] >= low && values[i] <= high));
  }
  return logic.states.find((state) => Object.entries(state.levels).every(([name, k]) => level.get(name) === k));
}
