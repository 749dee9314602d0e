"use strict";
// Draws the figures, and lets states be looked at. Text from data goes in as text, never as HTML.
(() => {
  const page = JSON.parse(document.getElementById("page-data").textContent);
  const SERIES = ["#3f7fc8", "#d97b2c", "#3c9a68", "#8d6cc4", "#cf5a5a", "#7c8694",
                  "#b8a13a", "#4fa9b5", "#c56aa6", "#7a5c3f", "#9fbf4d", "#5a5fb0"];
  const CONFIG = { displayModeBar: false, responsive: true };
  const drawn = [];

  function variable(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }

  function themed(layout, legend = false) {
    const ink = variable("--ink"), line = variable("--line"), soft = variable("--soft");
    const result = {
      margin: { l: 62, r: 14, t: 34, b: legend ? 84 : 50 }, colorway: SERIES, hovermode: "closest", ...layout,
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: "system-ui, -apple-system, Segoe UI, Roboto, sans-serif", size: 13, color: ink },
      hoverlabel: { bgcolor: variable("--card"), bordercolor: line, font: { color: ink } },
      legend: { orientation: "h", y: 0, yref: "container", yanchor: "bottom", x: 0, ...layout.legend },
    };
    if (result.title) result.title = { x: 0, xanchor: "left", xref: "container", pad: { l: 8 }, y: 0.98, yanchor: "top",
      ...result.title, font: { size: 14, color: ink } };
    for (const axis of Object.keys(result).filter((key) => /^[xy]axis/.test(key)))
      result[axis] = { automargin: true, ...result[axis], gridcolor: line, linecolor: line,
                       zerolinecolor: line, tickfont: { color: soft, size: 12 },
                       title: { standoff: 8, ...result[axis].title, font: { size: 12, color: soft } } };
    return result;
  }

  function draw(element, traces, layout) {
    const legend = traces.length > 1;
    drawn.push({ element, layout, legend });
    return Plotly.newPlot(element, traces, themed(layout, legend), CONFIG);
  }

  function recolour() {
    for (const { element, layout, legend } of drawn) Plotly.relayout(element, themed(layout, legend));
  }

  function make(tag, properties = {}, ...children) {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  }

  // Plotly reads a little HTML in titles: what comes from data is escaped for it.
  function plain(text) {
    return text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  }

  function short(value) {
    if (value === null || value === undefined) return "–";
    const size = Math.abs(value);
    if (Number.isInteger(value)) return value.toLocaleString("en");
    return size !== 0 && (size < 0.001 || size >= 1e5) ? value.toExponential(2)
      : String(Number(value.toPrecision(3)));
  }

  function picture(index, what) {
    if (index < 0) return make("div", { className: "blank" }, "no picture");
    return make("img", { src: page.pictures[index], alt: what });
  }

  // One panel of states: the map, the state under the pointer, and why one was new.
  function panel(states, map, why) {
    const part = (root, name) => root.querySelector(`[data-part="${name}"]`);
    const names = (i) => states.columns.map((column) => [column.name, column.values[i]]);
    let plane = Object.keys(states.planes)[0], by = states.columns[0], chosen = 0;

    function facts(i) {
      const list = make("dl");
      for (const [name, value] of names(i))
        list.append(make("dt", {}, name.replaceAll("_", " ")), make("dd", {}, short(value)));
      return list;
    }

    function look(i) {
      part(map, "card").replaceChildren(
        ...(states.has_pictures ? [picture(states.pictures[i], "the state under the pointer")] : []), facts(i));
    }

    function colours() {
      if (!by) return { color: SERIES[0] };
      const values = by.values;
      if (by.kind === "category") {
        const kinds = [...new Set(values)].sort((a, b) => a - b);
        part(map, "legend").replaceChildren(...kinds.map((kind, i) => {
          const dot = make("i");
          dot.style.background = SERIES[i % SERIES.length];
          return make("span", {}, dot, `${by.name} ${short(kind)}`);
        }));
        return { color: values.map((value) => SERIES[kinds.indexOf(value) % SERIES.length]) };
      }
      part(map, "legend").replaceChildren();
      const shown = by.kind === "logarithm" ? values.map((v) => v > 0 ? Math.log10(v) : null) : values;
      const title = plain(by.kind === "logarithm" ? `log10 ${by.name}` : by.name);
      const known = shown.filter((v) => v !== null).sort((a, b) => a - b);
      const at = (q) => known[Math.min(known.length - 1, Math.floor(q * known.length))];
      return { color: shown, colorscale: "Viridis", showscale: true, cmin: at(0.01), cmax: at(0.99),
               colorbar: { title: { text: title, side: "right" }, thickness: 12, outlinewidth: 0 } };
    }

    function mapTraces() {
      const [x, y] = states.planes[plane].points;
      const everyone = { type: "scatter", mode: "markers", x, y, hoverinfo: "none",
                         marker: { size: 6, opacity: 0.8, ...colours() } };
      const ring = { type: "scatter", mode: "markers", x: [x[chosen]], y: [y[chosen]],
                     hoverinfo: "skip", showlegend: false,
                     marker: { size: 15, color: "rgba(0,0,0,0)", line: { width: 2.5, color: variable("--ink") } } };
      return [everyone, ring];
    }

    function mapLayout() {
      const axes = states.planes[plane].axes;
      const axis = (text, extra) => ({ title: { text }, showticklabels: plane === "pca", ...extra });
      return { showlegend: false, xaxis: axis(axes[0]), yaxis: axis(axes[1]),
               margin: { l: 56, r: 10, t: 10, b: 46 } };
    }

    function redraw() {
      Plotly.react(part(map, "plot"), mapTraces(), themed(mapLayout()), CONFIG);
    }

    function strip(values) {
      const canvas = make("canvas", { className: "strip", width: values.length, height: 1,
        title: "the embedding, a column for each dimension" });
      const context = canvas.getContext("2d"), pixels = context.createImageData(values.length, 1);
      values.forEach((value, i) => {
        const up = Math.max(0, value - 128) / 127, down = Math.max(0, 128 - value) / 128;
        pixels.data.set([238 - 190 * down - 20 * up, 236 - 120 * down - 120 * up,
                         230 - 30 * down - 186 * up, 255], 4 * i);
      });
      context.putImageData(pixels, 0, 0);
      return canvas;
    }

    function neighbour(i, j) {
      const found = states.why, distance = found.squared_distance[i][j], value = found.kernel[i][j];
      const bar = make("i");
      bar.style.width = `${100 * Math.max(0, Math.min(1, value))}%`;
      const list = make("dl", {},
        make("dt", {}, "step"), make("dd", {}, short(found.steps[i][j])),
        make("dt", {}, "distance"), make("dd", {}, short(Math.sqrt(distance))),
        make("dt", {}, "kernel"), make("dd", {}, short(value)));
      const card = make("div", { className: "card" });
      if (states.has_pictures && j < found.pictures[i].length)
        card.append(picture(found.pictures[i][j], `neighbour ${j + 1}`));
      card.append(list, make("div", { className: "bar", title: "kernel value, of 1" }, bar));
      return card;
    }

    function pick(i) {
      chosen = i;
      const found = states.why, near = found.steps[i].map((_, j) => j).filter((j) => found.steps[i][j] >= 0);
      const self = make("div", { className: "card" });
      if (states.has_pictures) self.append(picture(states.pictures[i], "the state"));
      self.append(strip(states.strips[i]), facts(i));
      part(why, "self").replaceChildren(self);
      const pictured = states.has_pictures ? found.pictures[i].length : 0;
      part(why, "near").replaceChildren(...near.filter((j) => j < pictured).map((j) => neighbour(i, j)));
      part(why, "rest").replaceChildren(...near.filter((j) => j >= pictured).map((j) => neighbour(i, j)));
      const sum = near.reduce((total, j) => total + found.kernel[i][j], 0);
      const step = states.columns.find((column) => column.name === "step");
      const place = step ? `Step ${short(step.values[i])}` : `State ${i + 1}`;
      part(why, "sentence").textContent = near.length === 0
        ? `${place} began its episode: there was nothing to compare it with.`
        : `${place}: its ${near.length} nearest have kernel values that sum to ${short(sum)} of at most ` +
          `${near.length}, so its episodic novelty is ${short(found.novelty[i])} ` +
          `(${rank(i)}).`;
      part(why, "slider").value = i;
      if (part(map, "plot").data) redraw();
    }

    // Among states with all their neighbours, as a memory that has just begun makes everything new.
    function compared() {
      const full = states.why.steps.map((steps) => steps.every((step) => step >= 0));
      return states.why.novelty.map((value, i) => full[i] || !full.includes(true) ? value : null);
    }

    function rank(i) {
      const values = compared().filter((value) => value !== null), mine = states.why.novelty[i];
      const below = values.filter((value) => value < mine).length;
      const share = Math.round(100 * below / Math.max(1, values.length - 1));
      return `newer than ${Math.min(share, 100)} % of the states shown that have all their neighbours`;
    }

    function extreme(sign) {
      const values = compared();
      return values.reduce((best, value, i) => value !== null &&
        (values[best] === null || sign * value > sign * values[best]) ? i : best, 0);
    }

    const select = part(map, "by");
    states.columns.forEach((column, i) => select.append(make("option", { value: i }, column.name)));
    select.onchange = () => { by = states.columns[select.value]; redraw(); };
    for (const button of map.querySelectorAll("button[data-plane]"))
      button.onclick = () => {
        plane = button.dataset.plane;
        for (const other of map.querySelectorAll("button[data-plane]"))
          other.setAttribute("aria-pressed", String(other === button));
        redraw();
      };
    const slider = part(why, "slider");
    slider.oninput = () => pick(Number(slider.value));
    part(why, "newest").onclick = () => pick(extreme(1));
    part(why, "oldest").onclick = () => pick(extreme(-1));
    pick(extreme(1));
    look(chosen);
    const plot = part(map, "plot");
    const preferred = states.columns.findIndex((column) => column.name === "room");
    if (preferred > 0) { by = states.columns[preferred]; select.value = preferred; }
    Plotly.newPlot(plot, mapTraces(), themed(mapLayout()), CONFIG).then(() => {
      plot.on("plotly_hover", (event) => { if (event.points[0].curveNumber === 0) look(event.points[0].pointNumber); });
      plot.on("plotly_click", (event) => { if (event.points[0].curveNumber === 0) pick(event.points[0].pointNumber); });
    });
    return redraw;
  }

  for (const { id, traces, layout } of page.figures)
    draw(document.getElementById(id), traces, layout);
  const redraws = page.states.map((states, i) => states &&
    panel(states, document.getElementById(`map-${i}`), document.getElementById(`why-${i}`))).filter(Boolean);
  const repaint = () => { recolour(); redraws.forEach((redraw) => redraw()); };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
  matchMedia("print").addEventListener("change", repaint);
  document.documentElement.dataset.drawn = "yes";
})();
