// A run: the network and the task's machine, step by step on one input.

class Run {
  // source: {kind: "random", seed} | {kind: "typed", text} | {kind: "hand", symbols}
  // The first is endless, the second ends with its word, the third holds its last input.
  constructor(network, task, source) {
    this.network = network;
    this.task = task;
    this.source = source;
    this.steps = [];
    this.uniform = source.kind === "random" ? uniforms(source.seed) : null;
    this.word = source.kind === "typed" ? task.parse(source.text) : (source.symbols ?? []);
    this.length = source.kind === "typed" ? this.word.length : Infinity;
  }

  // Step t: {symbol, state, after, values, expected, wrong}, or undefined beyond the end.
  // state and after: of the machine; expected: a bit or "-" an output; wrong: outputs that err
  at(t) {
    while (this.steps.length <= t && this.steps.length < this.length) this.#extend();
    return this.steps[t];
  }

  // The first step from `from` on, of those computed, at which an output is wrong; or -1.
  firstWrong(from = 0) {
    return this.steps.findIndex((step, t) => t >= from && step.wrong.length > 0);
  }

  // The run with input bit i flipped at step t, and what can stay of the inputs after it.
  // Throws an Error with the reason if the task does not allow that input.
  flipped(t, i) {
    const { symbol, state } = this.at(t);
    const bits = Array.from(this.task.symbols[symbol]);
    bits[i] = bits[i] === "1" ? "0" : "1";
    const refusal = this.task.refusal(state, bits.join(""), t);
    if (refusal) throw new Error(refusal);
    const symbols = this.steps.slice(0, t).map((step) => step.symbol);
    let at = state;
    const later = this.steps.slice(t + 1).map((step) => step.symbol);
    for (const a of [this.task.number.get(bits.join("")), ...later]) {
      if (this.task.next[at][a] < 0) break;
      symbols.push(a);
      at = this.task.next[at][a];
    }
    return new Run(this.network, this.task, { kind: "hand", symbols });
  }

  #extend() {
    const t = this.steps.length;
    const last = this.steps[t - 1];
    const state = last?.after ?? 0;
    const symbol = this.#symbol(t, state, last?.symbol);
    const states = last ? this.network.next(last.values) : this.network.initial;
    const values = this.network.values(states, this.task.bits[symbol]);
    const expected = Array.from(this.task.output[state][symbol]);
    const wrong = this.network.heads.flatMap((head, k) => {
      const right = expected[k] === "-" || (expected[k] === "1" ? values[head] > 0 : values[head] < 0);
      return right ? [] : [k];
    });
    this.steps.push({ symbol, state, after: this.task.next[state][symbol], values, expected, wrong });
  }

  #symbol(t, state, last) {
    if (this.uniform) return this.task.draw(state, this.uniform());
    if (t < this.word.length) return this.word[t];
    if (last !== undefined && this.task.next[state][last] >= 0) return last;
    return this.task.legal(state)[0];
  }
}
