"use strict";
// Draws what stands in #drawings, in the colours of the style sheet, and anew when these or the width change.
(() => {
  const drawings = JSON.parse(document.getElementById("drawings").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const narrow = matchMedia("(max-width: 48rem)");
  const paper = matchMedia("print");
  const settings = { displayModeBar: false, responsive: true, showTips: false };

  // A new copy each time: Plotly writes into what it is given.
  function coloured(value, style) {
    if (typeof value === "string" && value.startsWith("--")) return style.getPropertyValue(value).trim();
    if (Array.isArray(value)) return value.map((each) => coloured(each, style));
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, coloured(each, style)]));
  }

  function axis({ narrow: ifNarrow, ...given }, muted) {
    return {
      fixedrange: true, ticks: "", tickangle: 0, ticklabelstandoff: 6, nticks: narrow.matches ? 3 : 0,
      ...given, ...(narrow.matches && ifNarrow),
      title: { ...given.title, font: { size: 12, color: muted } },
    };
  }

  function layout(given, style) {
    const colour = (name) => style.getPropertyValue(name).trim();
    const made = coloured(given, style);
    if (narrow.matches && made.showlegend !== false) made.height += 48; // its legend takes more lines
    made.xaxis = axis(made.xaxis, colour("--muted"));
    made.yaxis = axis(made.yaxis, colour("--muted"));
    return {
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: getComputedStyle(document.body).fontFamily, size: narrow.matches ? 11 : 13, color: colour("--text") },
      margin: { l: narrow.matches ? 8 : 16, r: narrow.matches ? 8 : 20, t: 8, b: 8 },
      hoverlabel: {
        bgcolor: colour("--surface"), bordercolor: colour("--line"), align: "left",
        font: { color: colour("--text"), size: 13 },
      },
      ...made,
      legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", itemsizing: "constant", ...made.legend },
    };
  }

  function draw() {
    const style = getComputedStyle(document.documentElement);
    for (const [id, drawing] of Object.entries(drawings)) {
      Plotly.react(id, coloured(drawing.data, style), layout(drawing.layout, style), settings);
    }
  }

  draw();
  for (const query of [dark, narrow, paper]) query.addEventListener("change", draw);
})();
