// The network: its evaluation in float32, bit by bit as bonsai/graph.py and bonsai/activation.py
// write it, and graphs read from JSON, which are believed in nothing.

const f32 = Math.fround;
const LARGEST_GRAPH = { nodes: 5000, edges: 100000 };

class Network {
  // graph: {factor, leak, nodes: [{kind, cell, index, name, bias, initial}],
  //         edges: [[source, target, weight]], feedback: [[neuron, state]]}
  constructor(graph) {
    this.graph = graph;
    this.nodes = graph.nodes;
    this.incoming = graph.nodes.map(() => []);
    for (const [source, target, weight] of graph.edges) {
      this.incoming[target].push({ source, weight: f32(weight) });
    }
    this.feedback = new Map(graph.feedback.map(([neuron, state]) => [state, neuron]));
    this.inputs = this.where("input");
    this.states = this.where("state");
    this.heads = this.where("head");
    this.initial = Float32Array.from(this.states, (i) => graph.nodes[i].initial);
  }

  where(kind) {
    return this.nodes.flatMap((node, i) => (node.kind === kind ? [i] : []));
  }

  activation(x) {
    const f = f32(this.graph.factor);
    const leak = f32(this.graph.leak);
    const t = Math.abs(x);
    const past = f32(t - 1);
    const e = t <= 2 ? past : f32(past - 2);
    const square = f32(e * e);
    const quartic = f32(f32(square * square) - 1);
    const smooth = t <= 2 ? quartic : -quartic;
    const linear = f32(Math.abs(past) - 1);
    const inside = f32(f32(f * linear) + f32(f32(1 - f) * smooth));
    const size = t <= 3 ? inside : f32(1 + f32(leak * f32(t - 3)));
    return x < 0 || Object.is(x, -0) ? -size : size;
  }

  // The sum that node i comes to, from its bias on, edge by edge.
  sum(i, values) {
    let total = f32(this.nodes[i].bias);
    for (const { source, weight } of this.incoming[i]) {
      total = f32(total + f32(weight * values[source]));
    }
    return total;
  }

  // Each node's value (Float32Array) for states (Float32Array) and input bits (of -1 and +1).
  values(states, bits) {
    const values = new Float32Array(this.nodes.length);
    this.inputs.forEach((node, i) => (values[node] = bits[i]));
    this.states.forEach((node, i) => (values[node] = states[i]));
    this.nodes.forEach((node, i) => {
      if (node.kind === "input" || node.kind === "state") return;
      const total = this.sum(i, values);
      values[i] = node.kind === "head" ? total : this.activation(total);
    });
    return values;
  }

  next(values) {
    return Float32Array.from(this.states, (state) => values[this.feedback.get(state)]);
  }
}

// The Network and the typed word ("" if there is none) in the JSON text of a saved graph, for a
// task with this many input and output bits. Throws an Error that says what is wrong.
function readGraph(text, inputs, outputs) {
  const wrong = (what) => {
    throw new Error(`not a graph that can be shown here: ${what}`);
  };
  const finite = (value, what) => {
    if (typeof value !== "number" || !Number.isFinite(f32(value))) wrong(`${what} is no number`);
    return f32(value);
  };
  const list = (value, what, most) => {
    if (!Array.isArray(value)) wrong(`${what} is no list`);
    if (value.length > most) wrong(`${what} has ${value.length} entries, at most ${most}`);
    return value;
  };
  let found;
  try {
    found = JSON.parse(text);
  } catch {
    wrong("the file is not JSON");
  }
  if (found?.kind !== "bonsai graph" || found.schema !== 1) {
    wrong('it needs "kind": "bonsai graph" and "schema": 1');
  }
  const factor = finite(found.factor, "factor");
  const leak = finite(found.leak, "leak");
  const nodes = list(found.nodes, "nodes", LARGEST_GRAPH.nodes).map((node, i) => {
    if (!["input", "state", "output", "recurrent", "head"].includes(node?.kind)) {
      wrong(`node ${i} is of no known kind`);
    }
    if (typeof node.name !== "string" || !node.name || node.name.length > 200) {
      wrong(`node ${i} has no name`);
    }
    return {
      kind: node.kind,
      cell: Number.isInteger(node.cell) ? node.cell : -1,
      index: Number.isInteger(node.index) ? node.index : i,
      name: node.name,
      bias: finite(node.bias ?? 0, `the bias of node ${i}`),
      initial: finite(node.initial ?? 0, `the initial value of node ${i}`),
    };
  });
  if (new Set(nodes.map((node) => node.name)).size < nodes.length) wrong("two nodes share a name");
  const place = (value, what) => {
    if (!Number.isInteger(value) || value < 0 || value >= nodes.length) wrong(`${what} leads nowhere`);
    return value;
  };
  const edges = list(found.edges, "edges", LARGEST_GRAPH.edges).map((edge, k) => {
    const [source, target, weight] = list(edge, `edge ${k}`, 3);
    place(source, `edge ${k}`);
    place(target, `edge ${k}`);
    if (source >= target) wrong(`edge ${k} does not go forward`);
    if (["input", "state"].includes(nodes[target].kind) || nodes[source].kind === "head") {
      wrong(`edge ${k} starts or ends at the wrong kind of node`);
    }
    return [source, target, finite(weight, `the weight of edge ${k}`)];
  });
  edges.sort((a, b) => a[1] - b[1] || a[0] - b[0]);
  edges.forEach((edge, k) => {
    if (k && edge[0] === edges[k - 1][0] && edge[1] === edges[k - 1][1]) wrong("two edges join the same nodes");
  });
  const feedback = list(found.feedback, "feedback", nodes.length).map((link, k) => {
    const [neuron, state] = list(link, `feedback ${k}`, 2);
    if (!["output", "recurrent"].includes(nodes[place(neuron, `feedback ${k}`)].kind)) {
      wrong(`feedback ${k} does not come from a neuron`);
    }
    return [neuron, place(state, `feedback ${k}`)];
  });
  const network = new Network({ factor, leak, nodes, edges, feedback });
  const fed = feedback.map(([, state]) => state).sort((a, b) => a - b);
  if (fed.join() !== network.states.join()) wrong("every state needs one feedback link");
  if (network.inputs.length !== inputs || network.heads.length !== outputs) {
    wrong(
      `it has ${network.inputs.length} inputs and ${network.heads.length} outputs, ` +
        `the task ${inputs} and ${outputs}`,
    );
  }
  return { network, word: typeof found.word === "string" ? found.word : "" };
}
