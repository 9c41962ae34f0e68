// The peer of the evaluation kernel: a graph of objects, evaluated node by node, one thread, as the
// graphs of "Growing Bonsai Networks with RNNs" are in its pages.
//
// The first line of the input is {graph: {nodes, edges, feedback, factor, leak}, words}, and is
// answered by the outputs of all words; then each line is a number of passes over all words, and is
// answered by the seconds that they took.

import { createInterface } from "node:readline";

function ameo(x, factor, leak) {
  const t = Math.abs(x);
  const u = t / 2 - 0.5;
  const v = t > 2 ? u - 1 : u;
  const power = 16 * v * v * v * v - 1;
  const inside = factor * (Math.abs(t - 1) - 1) + (1 - factor) * (t > 2 ? -power : power);
  const y = t > 3 ? 1 + leak * (t - 3) : inside;
  return x < 0 ? -y : y;
}

class Neuron {
  constructor(node, graph) {
    this.bias = node.bias;
    this.linear = node.kind === "head";
    this.factor = graph.factor;
    this.leak = graph.leak;
    this.incoming = []; // {source, weight}
    this.value = 0;
  }

  evaluate() {
    let sum = this.bias;
    for (const { source, weight } of this.incoming) sum += weight * source.value;
    this.value = this.linear ? sum : ameo(sum, this.factor, this.leak);
  }
}

class Graph {
  constructor(graph) {
    this.inputs = [];
    this.states = [];
    this.neurons = [];
    this.heads = [];
    const nodes = graph.nodes.map((node) => {
      if (node.kind === "input") {
        const input = { value: 0 };
        this.inputs.push(input);
        return input;
      }
      if (node.kind === "state") {
        const state = { value: node.initial, initial: node.initial, from: null };
        this.states.push(state);
        return state;
      }
      const neuron = new Neuron(node, graph);
      this.neurons.push(neuron);
      if (neuron.linear) this.heads.push(neuron);
      return neuron;
    });
    for (const [source, target, weight] of graph.edges)
      nodes[target].incoming.push({ source: nodes[source], weight });
    for (const [neuron, state] of graph.feedback) nodes[state].from = nodes[neuron];
  }

  reset() {
    for (const state of this.states) state.value = state.initial;
  }

  step(x) {
    for (let i = 0; i < x.length; i++) this.inputs[i].value = x[i];
    for (const neuron of this.neurons) neuron.evaluate();
    for (const state of this.states) state.value = state.from.value;
  }
}

let graph = null;
let words = null;
let kept = 0; // the outputs are used, so that nothing is left out by the compiler
for await (const line of createInterface({ input: process.stdin })) {
  if (graph === null) {
    const given = JSON.parse(line);
    graph = new Graph(given.graph);
    words = given.words;
    const outputs = words.map((word) => {
      graph.reset();
      return word.map((x) => {
        graph.step(x);
        return graph.heads.map((head) => head.value);
      });
    });
    console.log(JSON.stringify(outputs));
    continue;
  }
  const passes = Number(line);
  const start = performance.now();
  for (let pass = 0; pass < passes; pass++)
    for (const word of words) {
      graph.reset();
      for (const x of word) graph.step(x);
      kept += graph.heads[0].value;
    }
  console.log(JSON.stringify((performance.now() - start) / 1000));
}
if (Number.isNaN(kept)) console.error("an output is not a number");
