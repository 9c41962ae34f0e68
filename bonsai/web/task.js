// The task: its machine, words in its own alphabet, and its own generator of inputs.

const LONGEST_WORD = 100000;

class Task {
  // machine: {name, inputs, outputs, states, symbols: ["01"], next: [[q]] (-1 where illegal),
  //           output: [["1-"]], probability: [[p]]}; letters: two characters for 0 and 1
  constructor(machine, letters) {
    Object.assign(this, machine);
    this.letters = letters;
    this.bits = this.symbols.map((symbol) => Array.from(symbol, (bit) => (bit === "1" ? 1 : -1)));
    this.number = new Map(this.symbols.map((symbol, a) => [symbol, a]));
  }

  legal(state) {
    return this.next[state].flatMap((after, a) => (after >= 0 ? [a] : []));
  }

  // What input bit `i` is called when it is "0" or "1".
  letter(bit) {
    return this.letters[bit === "1" ? 1 : 0];
  }

  spelled(symbol) {
    return Array.from(this.symbols[symbol], (bit) => this.letter(bit)).join("");
  }

  // A symbol with the names of its fields: `change = 0, a = 1`.
  named(symbol) {
    const bits = Array.from(this.symbols[symbol]);
    return this.inputs.map((name, i) => `${name} = ${this.letter(bits[i])}`).join(", ");
  }

  // Why this vector of bits ("01…") cannot be read in this state at this step; "" if it can.
  refusal(state, symbol, step) {
    const a = this.number.get(symbol);
    if (a !== undefined && this.next[state][a] >= 0) return "";
    const spelled = Array.from(symbol, (bit) => this.letter(bit)).join("");
    const known = this.legal(state).slice(0, 8).map((b) => this.spelled(b));
    const more = this.legal(state).length > known.length ? ", …" : "";
    return (
      `Step ${step}: ${spelled} is not legal when the task is in state ` +
      `${this.states[state]}; legal there: ${known.join(", ")}${more}.`
    );
  }

  // One symbol drawn as the task draws its inputs; `uniform` is from 0 up to 1.
  draw(state, uniform) {
    let left = uniform;
    const legal = this.legal(state);
    for (const a of legal) {
      left -= this.probability[state][a];
      if (left < 0) return a;
    }
    return legal.filter((a) => this.probability[state][a] > 0).at(-1);
  }

  // Symbols of a typed word. Throws an Error with the reason where it is not one, or not legal.
  //   one input:      0110, (()()), 0*46 1     a letter a step; LETTERS*N repeats
  //   several inputs: 011 001*3                a group a step
  //                   a=0110 b=1 c=01*2        a row a field; a row of one letter is held
  //   no inputs:      46                       the number of steps
  parse(text) {
    const tokens = text.trim().split(/[\s,;]+/).filter(Boolean);
    const width = this.inputs.length;
    let symbols;
    if (width === 0) {
      const steps = Number(tokens[0] ?? 0);
      if (tokens.length > 1 || !Number.isInteger(steps) || steps < 0) {
        throw new Error("The task has no inputs: type a number of steps.");
      }
      this.#tooLong(steps);
      symbols = Array(steps).fill("");
    } else if (tokens.some((token) => this.#field(token))) {
      symbols = this.#rows(tokens);
    } else {
      symbols = [];
      for (const token of tokens) {
        const [bits, times] = this.#repeated(token);
        if (bits.length % width) {
          throw new Error(
            `“${token}” has ${bits.length} bits, and a step has ${width}: ${this.inputs.join(", ")}.`,
          );
        }
        this.#tooLong(symbols.length + (bits.length / width) * times);
        const groups = bits.match(new RegExp(`.{${width}}`, "g"));
        for (let n = 0; n < times; n++) symbols.push(...groups);
      }
    }
    if (!symbols.length) throw new Error("The input is empty: type at least one step.");
    let state = 0;
    return symbols.map((symbol, step) => {
      const refusal = this.refusal(state, symbol, step);
      if (refusal) throw new Error(refusal);
      const a = this.number.get(symbol);
      state = this.next[state][a];
      return a;
    });
  }

  // The shortest simple text that `parse` reads as these symbols.
  text(symbols) {
    const width = this.inputs.length;
    if (width === 0) return String(symbols.length);
    const runs = [];
    for (const a of symbols) {
      if (runs.at(-1)?.a === a) runs.at(-1).times++;
      else runs.push({ a, times: 1 });
    }
    const parts = [];
    for (const { a, times } of runs) {
      const word = this.spelled(a);
      if (times > (width === 1 ? 8 : 1)) parts.push({ text: `${word}*${times}`, whole: true });
      else if (width > 1) parts.push({ text: word, whole: true });
      else if (parts.length && !parts.at(-1).whole) parts.at(-1).text += word.repeat(times);
      else parts.push({ text: word.repeat(times), whole: false });
    }
    return parts.map((part) => part.text).join(" ");
  }

  #field(token) {
    const name = token.slice(0, token.lastIndexOf("="));
    return token.includes("=") && this.inputs.includes(name) ? name : "";
  }

  #rows(tokens) {
    const rows = new Map();
    for (const token of tokens) {
      const name = this.#field(token);
      if (!name) throw new Error(`“${token}” is no field; the fields are ${this.inputs.join(", ")}.`);
      if (rows.has(name)) throw new Error(`Field ${name} is given twice.`);
      const parts = token.slice(name.length + 1).split("+").map((part) => this.#repeated(part));
      this.#tooLong(parts.reduce((sum, [bits, times]) => sum + bits.length * times, 0));
      rows.set(name, parts.map(([bits, times]) => bits.repeat(times)).join(""));
    }
    const missing = this.inputs.filter((name) => !rows.has(name));
    if (missing.length) throw new Error(`Field ${missing.join(", ")} is missing.`);
    const length = Math.max(...Array.from(rows.values(), (row) => row.length));
    for (const [name, row] of rows) {
      if (row.length !== length && row.length !== 1) {
        throw new Error(`Field ${name} has ${row.length} steps, another ${length}.`);
      }
    }
    const at = (name, step) => rows.get(name)[rows.get(name).length === 1 ? 0 : step];
    return Array.from({ length }, (_, step) => this.inputs.map((name) => at(name, step)).join(""));
  }

  #repeated(token) {
    const [, word, times] = token.match(/^(.*?)(?:\*(\d{1,7}))?$/su);
    const bits = Array.from(word, (letter) => {
      const bit = this.letters.indexOf(letter);
      if (bit >= 0) return String(bit);
      if (letter === "0" || letter === "1") return letter;
      throw new Error(
        `“${letter}” is no letter of this task; they are ${this.letters[0]} and ${this.letters[1]}.`,
      );
    }).join("");
    if (!bits) throw new Error(`“${token}” says no bits.`);
    return [bits, times === undefined ? 1 : Number(times)];
  }

  #tooLong(steps) {
    if (steps > LONGEST_WORD) throw new Error(`A word may have ${LONGEST_WORD} steps at most.`);
  }
}

// Uniform numbers from a seed: Mulberry32, by Tommy Ettinger, 2017 (public domain).
function uniforms(seed) {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
