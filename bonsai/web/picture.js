// The graph's picture: colours by value, pan and zoom, and a plain layout for loaded graphs.

const SVG = "http://www.w3.org/2000/svg";
const WIDEST = 4; // of an edge, as in bonsai/draw.py
const LARGEST_SCALE = 1.7; // of a picture that fits; a graph of three nodes need not fill a wall

function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function shown(value, digits = 2) {
  if (!Number.isFinite(value)) return String(value);
  const text = value.toFixed(digits);
  return (Number(text) === 0 ? text.replace("-", "") : text).replace("-", "−");
}

// Up to five digits, no more than there are.
function short(value) {
  return String(Number(value.toPrecision(5))).replace("-", "−");
}

// Blue for negative, red for positive, in steps that look even (OKLab); full beyond -1 and 1.
function colour(value, zero = "--zero") {
  const share = Math.min(Math.abs(value), 1);
  return `color-mix(in oklab, var(--${value < 0 ? "negative" : "positive"}) ${(share * 100).toFixed(1)}%, var(${zero}))`;
}

// The colour of writing on `colour(value)`, see explorer.css.
function writing(value) {
  return Math.abs(value) < 0.7 ? "var(--on-zero)" : "var(--on-full)";
}

class Picture {
  // root: an SVG whose nodes and edges have the ids PREFIXn0, PREFIXe0-1, PREFIXf1-0
  constructor(root, network, prefix) {
    this.root = root;
    this.network = network;
    this.nodes = network.nodes.map((_, i) => root.getElementById(`${prefix}n${i}`));
    this.edges = network.graph.edges.map(([source, target, weight]) => ({
      source,
      weight,
      group: root.getElementById(`${prefix}e${source}-${target}`),
    }));
    this.links = network.graph.feedback.map(([neuron, state]) => ({
      neuron,
      group: root.getElementById(`${prefix}f${neuron}-${state}`),
    }));
    this.#frame();
    this.nodes.forEach((group, i) => this.#label(group, i));
  }

  // Show the values of a step.
  paint(values) {
    this.nodes.forEach((group, i) => {
      const [value, fill, ink] = [values[i], colour(values[i]), writing(values[i])];
      for (const child of group.children) {
        if (child.tagName === "text") child.style.fill = ink;
        else if (child.tagName !== "title") Object.assign(child.style, { fill, fillOpacity: 1 });
      }
      group.lastElementChild.textContent = shown(value);
      if (this.network.nodes[i].kind === "input") group.setAttribute("aria-checked", value > 0);
    });
    for (const { group, source, weight } of this.edges) this.#stroke(group, weight * values[source]);
    for (const { group, neuron } of this.links) this.#stroke(group, values[neuron]);
  }

  // Mark nodes by a class: `lit`, `chosen`, `wrong`.
  mark(name, nodes) {
    this.nodes.forEach((group, i) => group.classList.toggle(name, nodes.includes(i)));
  }

  fit() {
    const { width, height } = this.root.getBoundingClientRect();
    if (!width || !height) return;
    const [w, h] = [Math.max(this.size[0], width / LARGEST_SCALE), Math.max(this.size[1], height / LARGEST_SCALE)];
    const [left, top] = [(this.size[0] - w) / 2, (this.size[1] - h) / 2];
    this.root.setAttribute("viewBox", `${left} ${top} ${w} ${h}`);
    parts.select(this.root).call(this.zoom.transform, parts.zoomIdentity);
  }

  scaleBy(factor) {
    parts.select(this.root).call(this.zoom.scaleBy, factor);
  }

  panBy(x, y) {
    parts.select(this.root).call(this.zoom.translateBy, x, y);
  }

  #stroke(group, value) {
    for (const child of group.children) {
      if (child.tagName === "text") continue;
      child.style.stroke = colour(value, "--zero-line");
      if (child.tagName === "polygon") child.style.fill = colour(value, "--zero-line");
    }
  }

  #frame() {
    const [, , width, height] = this.root.getAttribute("viewBox").split(/[\s,]+/).map(Number);
    this.size = [width, height];
    this.root.removeAttribute("width");
    this.root.removeAttribute("height");
    let viewport = this.root.querySelector(":scope > .viewport");
    if (!viewport) {
      viewport = svg("g", { class: "viewport" }, ...this.root.children);
      this.root.append(viewport);
    }
    this.zoom = parts
      .zoom()
      .scaleExtent([0.2, 12])
      .on("zoom", (event) => viewport.setAttribute("transform", event.transform));
    parts.select(this.root).call(this.zoom).on("dblclick.zoom", null);
  }

  #label(group, i) {
    const { kind, name } = this.network.nodes[i];
    group.dataset.node = i;
    group.setAttribute("tabindex", 0);
    group.setAttribute("role", kind === "input" ? "switch" : "button");
    const said = { head: "output", output: "output neuron", recurrent: "recurrent neuron" };
    group.setAttribute("aria-label", `${said[kind] ?? kind} ${name}`);
  }
}

// An SVG of a graph without Graphviz: a column for each distance from the inputs and states.
function drawn(network, prefix) {
  const [apart, down, side] = [130, 84, 54];
  const column = network.nodes.map(() => 0);
  network.nodes.forEach((_, i) => {
    for (const { source } of network.incoming[i]) column[i] = Math.max(column[i], column[source] + 1);
    if (["output", "recurrent"].includes(network.nodes[i].kind)) column[i] = Math.max(column[i], 1);
  });
  const last = Math.max(...column, 1 + Math.max(0, ...network.nodes.map((n, i) => (n.kind === "head" ? 0 : column[i]))));
  for (const head of network.heads) column[head] = last;
  const columns = Array.from({ length: last + 1 }, (_, c) => network.nodes.flatMap((_, i) => (column[i] === c ? [i] : [])));
  const at = [];
  columns.forEach((members, c) => {
    const middle = (i) => {
      const before = network.incoming[i].map(({ source }) => at[source]?.y ?? 0);
      return before.length ? before.reduce((a, b) => a + b, 0) / before.length : i;
    };
    const ordered = c ? members.map((i) => [middle(i), i]).sort((a, b) => a[0] - b[0]).map(([, i]) => i) : members;
    ordered.forEach((i, row) => (at[i] = { x: 40 + c * apart, y: (row - (members.length - 1) / 2) * down }));
  });
  const tallest = Math.max(...columns.map((members) => members.length));
  for (const point of at) point.y += (tallest * down) / 2 + 10;
  const largest = Math.max(...network.graph.edges.map((edge) => Math.abs(edge[2])), 1e-9);
  const arrow = (x, y) => svg("polygon", { points: `${x},${y} ${x - 8},${y - 3.5} ${x - 8},${y + 3.5}` });
  const edges = network.graph.edges.map(([source, target, weight]) => {
    const [a, b] = [at[source], at[target]];
    const [x, y, u, v] = [a.x + side / 2, a.y, b.x - side / 2 - 7, b.y];
    const bend = Math.max(30, (u - x) / 2);
    // Its weight stands before the next column, on the curve.
    const share = column[target] - column[source] > 1 ? 0.25 : 0.5;
    const [near, far] = [3 * share * (1 - share) ** 2, 3 * share ** 2 * (1 - share) + share ** 3];
    const across = x + bend * near + (u - x) * far - bend * 3 * share ** 2 * (1 - share);
    const label = svg("text", { x: across, y: y + (v - y) * far - 4, "text-anchor": "middle", "font-size": 11 });
    label.textContent = short(weight);
    return svg(
      "g",
      { id: `${prefix}e${source}-${target}`, class: "edge" },
      svg("path", {
        d: `M${x},${y}C${x + bend},${y} ${u - bend},${v} ${u},${v}`,
        fill: "none",
        "stroke-width": 0.8 + ((WIDEST - 0.8) * Math.abs(weight)) / largest,
      }),
      arrow(u + 7, v),
      label,
    );
  });
  const links = network.graph.feedback.map(([neuron, state]) => {
    const [a, b] = [at[neuron], at[state]];
    const y = Math.min(a.y, b.y) - 46;
    const d = `M${a.x},${a.y - side / 2}C${a.x},${y} ${b.x},${y} ${b.x},${b.y - side / 2}`;
    const path = svg("path", { d, fill: "none", "stroke-dasharray": "5,3" });
    return svg("g", { id: `${prefix}f${neuron}-${state}`, class: "edge" }, path);
  });
  const nodes = network.nodes.map((node, i) => {
    const { x, y } = at[i];
    const box = { x: x - side / 2, y: y - side / 2, width: side, height: side };
    const shape =
      node.kind === "state"
        ? svg("ellipse", { cx: x, cy: y, rx: side / 2, ry: side / 2 })
        : svg("rect", node.kind === "input" ? { ...box, rx: 9 } : box);
    shape.setAttribute("stroke", "currentColor");
    const label = node.name.length > 8 ? `${node.name.slice(0, 7)}…` : node.name;
    const lines = [label, ...(node.bias ? [short(node.bias)] : []), ""];
    const texts = lines.map((line, k) => {
      const text = svg("text", { x, y: y + (k - (lines.length - 1) / 2) * 15 + 4, "text-anchor": "middle", "font-size": 13 });
      text.textContent = line;
      return text;
    });
    const group = svg("g", { id: `${prefix}n${i}`, class: "node" }, shape, ...texts);
    if (node.kind === "head") group.prepend(svg("rect", { x: x - 31, y: y - 31, width: 62, height: 62, fill: "none", stroke: "currentColor" }));
    return group;
  });
  const root = svg("svg", { viewBox: `0 0 ${last * apart + 80} ${tallest * down + 40}` });
  root.append(...links, ...edges, ...nodes);
  return root;
}
