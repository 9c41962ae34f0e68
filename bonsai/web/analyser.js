// The logic analyser: chosen signals over time, a lane each, and their export as VCD.

const LANE = { height: 46, ruler: 26, steps: 5000, following: 60 };

class Analyser {
  // onPick(t): a step was clicked
  constructor(container, ruler, onPick) {
    this.container = container;
    this.ruler = this.#ruler(ruler);
    this.onPick = onPick;
    this.lanes = [];
    this.range = null; // of steps, once zoomed
    new ResizeObserver(() => this.#resize()).observe(container);
  }

  // signals: [{key, name, bit, read(step)}], what can be shown of the run
  use(signals, run) {
    this.signals = new Map(signals.map((signal) => [signal.key, signal]));
    this.run = run;
    for (const lane of [...this.lanes]) if (!this.signals.has(lane.key)) this.remove(lane.key);
  }

  has(key) {
    return this.lanes.some((lane) => lane.key === key);
  }

  add(key) {
    const signal = this.signals.get(key);
    if (!signal || this.has(key)) return;
    const name = document.createElement("span");
    name.className = "name";
    name.textContent = signal.name;
    const value = document.createElement("output");
    const head = document.createElement("div");
    head.className = "head";
    const button = (label, sign, act) => {
      const made = document.createElement("button");
      made.type = "button";
      made.textContent = sign;
      made.title = label;
      made.setAttribute("aria-label", `${label}: ${signal.name}`);
      made.addEventListener("click", act);
      return made;
    };
    head.append(
      name,
      value,
      button("move up", "↑", () => this.move(key, -1)),
      button("move down", "↓", () => this.move(key, 1)),
      button("remove", "×", () => this.remove(key)),
    );
    const plot = document.createElement("div");
    plot.className = "plot";
    const row = document.createElement("li");
    row.className = "lane";
    row.dataset.key = key;
    row.append(head, plot);
    this.container.append(row);
    const lane = { key, row, plot, value, chart: null };
    lane.chart = this.#chart(lane, signal);
    this.lanes.push(lane);
    this.#draggable(lane, head);
    this.show(this.t ?? 0);
  }

  remove(key) {
    const lane = this.lanes.find((other) => other.key === key);
    if (!lane) return;
    lane.chart.destroy();
    lane.row.remove();
    this.lanes = this.lanes.filter((other) => other !== lane);
  }

  // Move a lane by so many places.
  move(key, by) {
    const from = this.lanes.findIndex((lane) => lane.key === key);
    const to = Math.min(Math.max(from + by, 0), this.lanes.length - 1);
    this.lanes.splice(to, 0, ...this.lanes.splice(from, 1));
    for (const lane of this.lanes) this.container.append(lane.row);
  }

  // Draw all lanes, with the cursor's line at step t.
  show(t) {
    this.t = t;
    const end = this.run.steps.length;
    const first = Math.max(0, end - LANE.steps);
    const x = Float64Array.from({ length: end - first + 1 }, (_, i) => first + i);
    const across = Math.min(LANE.following, Math.max(16, this.run.length));
    const last = Math.max(Math.min(end, t + 1 + across / 5), across);
    const [min, max] = this.range ?? [last - across, last];
    this.ruler.setData([x, x], false);
    this.ruler.setScale("x", { min, max });
    for (const lane of this.lanes) {
      const signal = this.signals.get(lane.key);
      const y = new Float64Array(x.length);
      for (let i = first; i < end; i++) y[i - first] = signal.read(this.run.steps[i]);
      y[y.length - 1] = y[y.length - 2];
      lane.chart.batch(() => {
        lane.chart.setData([x, y], false);
        lane.chart.setScale("x", { min, max });
        lane.chart.setScale("y", bounds(y));
      });
      lane.value.textContent = this.#value(signal, t);
    }
  }

  zoom(factor) {
    const chart = this.lanes[0]?.chart;
    if (!chart) return;
    const { min, max } = chart.scales.x;
    const middle = this.t >= min && this.t <= max ? this.t : (min + max) / 2;
    this.range = [middle - (middle - min) / factor, middle + (max - middle) / factor];
    this.show(this.t);
  }

  unzoom() {
    this.range = null;
    this.show(this.t);
  }

  // What GTKWave opens: bits as wires, all else as reals, a nanosecond a step.
  // Source: IEEE 1364-2005, section 18.
  vcd(scope) {
    const word = (text) => text.replace(/[^A-Za-z0-9_.'\[\]]/g, "_") || "_";
    const code = (k) => {
      let text = "";
      for (let n = k + 1; n > 0; n = Math.floor((n - 1) / 94)) text += String.fromCharCode(33 + ((n - 1) % 94));
      return text;
    };
    const chosen = this.lanes.map((lane) => this.signals.get(lane.key));
    const lines = ["$version Bonsai explorer $end", "$timescale 1 ns $end", `$scope module ${word(scope)} $end`];
    chosen.forEach((signal, k) => {
      const kind = signal.bit ? "wire 1" : "real 64";
      lines.push(`$var ${kind} ${code(k)} ${word(signal.name)} $end`);
    });
    lines.push("$upscope $end", "$enddefinitions $end");
    const before = [];
    this.run.steps.forEach((step, t) => {
      const changes = chosen.flatMap((signal, k) => {
        const value = signal.read(step);
        const known = Number.isFinite(value);
        const text = signal.bit ? (known ? String(Number(value > 0)) : "x") : `r${value} `;
        if (text === before[k]) return [];
        before[k] = text;
        return [`${text}${code(k)}`];
      });
      if (changes.length) lines.push(`#${t}`, ...changes);
    });
    lines.push(`#${this.run.steps.length}`);
    return `${lines.join("\n")}\n`;
  }

  #value(signal, t) {
    const value = signal.read(this.run.steps[t]);
    if (!signal.bit) return shown(value, 3);
    return Number.isFinite(value) ? String(Number(value > 0)) : "–";
  }

  #chart(lane, signal) {
    const draw = (chart) => {
      const { ctx, bbox } = chart;
      const [from, to] = [chart.valToPos(this.t, "x", true), chart.valToPos(this.t + 1, "x", true)];
      ctx.save();
      ctx.beginPath();
      ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
      ctx.clip();
      ctx.fillStyle = this.#colour("--cursor");
      ctx.fillRect(from, bbox.top, Math.max(to - from, 2), bbox.height);
      ctx.restore();
    };
    const options = {
      width: lane.plot.clientWidth || 300,
      height: LANE.height,
      padding: [4, 8, 4, 6],
      legend: { show: false },
      cursor: {
        sync: { key: "analyser" },
        y: false,
        drag: { x: true, y: false, setScale: false },
        points: { show: false },
      },
      scales: { x: { time: false }, y: {} },
      axes: [{ show: false }, { show: false }],
      series: [
        {},
        {
          stroke: () => this.#colour("--ink"),
          width: 1.5,
          paths: parts.uPlot.paths.stepped({ align: 1 }),
          points: { show: false },
        },
      ],
      hooks: {
        drawClear: [draw],
        setCursor: [
          (chart) => {
            const at = chart.cursor.left >= 0 ? Math.floor(chart.posToVal(chart.cursor.left, "x")) : this.t;
            if (this.run.steps[at]) lane.value.textContent = this.#value(this.signals.get(lane.key), at);
          },
        ],
        setSelect: [
          (chart) => {
            if (chart.select.width < 4) return;
            const { left, width } = chart.select;
            this.range = [chart.posToVal(left, "x"), chart.posToVal(left + width, "x")];
            chart.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
            this.show(this.t);
          },
        ],
      },
    };
    const chart = new parts.uPlot(options, [[0, 1], [0, 0]], lane.plot);
    let down = 0;
    chart.over.addEventListener("pointerdown", (event) => (down = event.clientX));
    chart.over.addEventListener("click", (event) => {
      if (Math.abs(event.clientX - down) > 3) return;
      const at = Math.floor(chart.posToVal(event.offsetX, "x"));
      if (this.run.steps[at]) this.onPick(at);
    });
    chart.over.addEventListener("dblclick", () => this.unzoom());
    chart.root.setAttribute("role", "img");
    chart.root.setAttribute("aria-label", `${signal.name} over the steps`);
    return chart;
  }

  #colour(name) {
    return getComputedStyle(this.container).getPropertyValue(name);
  }

  #ruler(container) {
    const ink = { stroke: () => this.#colour("--ink"), size: LANE.ruler, gap: 2, grid: { show: false }, ticks: { size: 4 } };
    const options = {
      width: 300,
      height: LANE.ruler,
      padding: [0, 8, 0, 6],
      legend: { show: false },
      cursor: { show: false },
      scales: { x: { time: false }, y: {} },
      axes: [{ ...ink, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 50000] }, { show: false }],
      series: [{}, { show: false }],
    };
    return new parts.uPlot(options, [[0], [0]], container);
  }

  #draggable(lane, head) {
    head.draggable = true;
    head.addEventListener("dragstart", (event) => {
      event.dataTransfer.setData("text/plain", lane.key);
      event.dataTransfer.effectAllowed = "move";
    });
    lane.row.addEventListener("dragover", (event) => event.preventDefault());
    lane.row.addEventListener("drop", (event) => {
      event.preventDefault();
      const from = this.lanes.findIndex((other) => other.key === event.dataTransfer.getData("text/plain"));
      if (from >= 0) this.move(this.lanes[from].key, this.lanes.indexOf(lane) - from);
    });
  }

  #resize() {
    const across = this.ruler.root.parentElement.clientWidth;
    if (across && across !== this.ruler.width) this.ruler.setSize({ width: across, height: LANE.ruler });
    for (const lane of this.lanes) {
      const width = lane.plot.clientWidth;
      if (width && width !== lane.chart.width) lane.chart.setSize({ width, height: LANE.height });
    }
  }
}

function bounds(y) {
  let [min, max] = [-1, 1];
  for (const value of y) {
    if (value < min) min = value;
    if (value > max) max = value;
  }
  const room = (max - min) * 0.08;
  return { min: min - room, max: max + room };
}
