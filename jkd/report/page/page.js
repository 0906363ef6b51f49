"use strict";
(async () => {
  const root = document.documentElement;
  const $$ = (selector, within = document) => [...within.querySelectorAll(selector)];
  const preferred = matchMedia("(prefers-color-scheme: dark)");

  // A table is sorted by the column whose heading is pressed; again turns it around.
  for (const heading of $$("table.sortable th")) {
    heading.tabIndex = 0;
    const sort = () => {
      const table = heading.closest("table");
      const down = heading.getAttribute("aria-sort") !== "descending";
      $$("th", table).forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", down ? "descending" : "ascending");
      const key = (row) => row.cells[heading.cellIndex].dataset.sort ?? "";
      const order = (a, b) => {
        const [x, y] = [key(a), key(b)];
        if (x === "" || y === "") return (x === "") - (y === ""); // what is not there is last either way
        const found = isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y;
        return down ? -found : found;
      };
      const body = table.tBodies[0];
      body.append(...[...body.rows].sort(order));
    };
    heading.addEventListener("click", sort);
    heading.addEventListener("keydown", (event) => event.key === "Enter" && sort());
  }

  const specs = JSON.parse(document.getElementById("plots").textContent);
  const names = Object.keys(specs).filter((name) => document.getElementById(name));
  if (names.length) {
    const packed = Uint8Array.from(atob(document.getElementById("plotly").textContent), (c) => c.charCodeAt(0));
    const unpacked = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    const script = document.createElement("script");
    script.textContent = await new Response(unpacked).text();
    document.head.append(script);
  }

  // "@0/0.2" is the palette's first colour at a fifth of its strength: the style sheet says which that is.
  const colour = (name) => {
    const [key, alpha] = name.slice(1).split("/");
    const hex = getComputedStyle(root).getPropertyValue(/^\d/.test(key) ? `--c${key}` : `--${key}`).trim();
    const parts = [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
    return `rgba(${parts.join(",")},${alpha ?? 1})`;
  };
  const coloured = (value) => {
    if (typeof value === "string") return /^@(\d|[a-z]+)(\/[\d.]+)?$/.test(value) ? colour(value) : value;
    if (Array.isArray(value)) return value.map(coloured);
    if (value && typeof value === "object")
      return Object.fromEntries(Object.entries(value).map(([name, entry]) => [name, coloured(entry)]));
    return value;
  };
  const narrow = () => innerWidth < 520;
  const axis = { gridcolor: "@line", linecolor: "@line", zerolinecolor: "@line", tickcolor: "@line", automargin: true };
  const layout = (spec) => {
    const made = {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", colorway: ["@0", "@1", "@2", "@3", "@4", "@5"],
      font: { family: "system-ui, DejaVu Sans, sans-serif", size: narrow() ? 11 : 12, color: "@ink" },
      margin: { l: 8, r: 12, t: 34, b: 8 }, hovermode: "closest", dragmode: matchMedia("(pointer: fine)").matches ? "zoom" : false,
      modebar: { bgcolor: "rgba(0,0,0,0)", color: "@quiet", activecolor: "@ink" },
      hoverlabel: { bgcolor: "@raised", bordercolor: "@line", font: { color: "@ink" }, namelength: -1 },
      ...spec,
      legend: { orientation: "h", y: -0.12, yanchor: "top", x: 0, ...spec.legend },
      title: { text: spec.title ?? "", x: 0, xanchor: "left", font: { size: 13 } },
    };
    for (const name of new Set(["xaxis", "yaxis", ...Object.keys(spec).filter((key) => /^[xy]axis/.test(key))]))
      made[name] = { ...axis, ...spec[name] };
    return coloured(made);
  };
  const settings = { responsive: true, displayModeBar: matchMedia("(hover: hover)").matches ? "hover" : false, displaylogo: false, modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"] };
  const shown = (name) => {
    const div = document.getElementById(name);
    const off = $$(`fieldset.switch[data-plots~="${name}"] input:not(:checked)`).map((input) => [input.name, input.value]);
    return specs[name].data.map((trace, number) => {
      const hidden = off.some(([of, value]) => trace.meta && String(trace.meta[of]) === value);
      if (hidden) return false;
      const before = div.data?.[number].visible; // a press on the legend stays
      return before === "legendonly" || (before === undefined && trace.visible === "legendonly") ? "legendonly" : true;
    });
  };
  const draw = () =>
    Promise.all(
      names.map((name) => {
        const visible = shown(name);
        const data = coloured(specs[name].data).map((trace, number) => ({ ...trace, visible: visible[number] }));
        if (narrow()) data.forEach((trace) => delete trace.texttemplate); // figures would not fit into the cells
        return Plotly.react(name, data, layout(specs[name].layout), settings);
      }),
    );

  for (const input of $$("fieldset.switch input"))
    input.addEventListener("change", () => {
      for (const name of input.closest("fieldset").dataset.plots.split(" "))
        if (names.includes(name)) Plotly.restyle(name, { visible: shown(name) });
    });
  document.getElementById("theme").addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : preferred.matches;
    root.dataset.theme = dark ? "light" : "dark";
    draw();
  });
  preferred.addEventListener("change", draw);
  for (const button of $$("button.copy"))
    button.addEventListener("click", () => navigator.clipboard?.writeText(button.nextElementSibling.textContent));
  await draw();
  document.body.dataset.drawn = names.length;
})();
