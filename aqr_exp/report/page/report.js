const data = JSON.parse(document.getElementById("data").textContent);
const root = document.documentElement;
const all = (query, within = document) => [...within.querySelectorAll(query)];

// Charts take the page's colours, and are drawn anew with another theme.
function config() {
  const style = getComputedStyle(root);
  const [ink, line] = ["--ink", "--line"].map((name) => style.getPropertyValue(name).trim());
  const axis = { labelColor: ink, titleColor: ink, gridColor: line, gridOpacity: 0.5, domainColor: line, tickColor: line };
  return { background: "transparent", font: "system-ui, sans-serif", view: { stroke: "transparent" }, axis, legend: { labelColor: ink, titleColor: ink }, title: { color: ink } };
}
async function draw() {
  for (const place of all(".chart")) {
    const spec = data.charts[place.dataset.chart];
    await vegaEmbed(place, spec, { renderer: "svg", ast: true, actions: false, config: config() });
    place.dataset.drawn = "yes";
  }
}
draw();
document.getElementById("theme").addEventListener("click", () => {
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  draw();
});

// A row and what it opens to stay together.
function lines(table) {
  return all(":scope > tbody > tr.line", table).map((line) => {
    const next = line.nextElementSibling;
    return next && next.classList.contains("seeds") ? [line, next] : [line];
  });
}
function compared(one, two) {
  if (one === "" || two === "") return (one === "") - (two === "");
  const [a, b] = [Number(one), Number(two)];
  return Number.isNaN(a) || Number.isNaN(b) ? one.localeCompare(two) : a - b;
}
for (const table of all("table[data-sortable]")) {
  for (const button of all(":scope > thead button.sort", table)) {
    button.addEventListener("click", () => {
      const head = button.closest("th");
      const falling = head.getAttribute("aria-sort") === "ascending";
      for (const other of all(":scope > thead th[aria-sort]", table)) other.setAttribute("aria-sort", "none");
      head.setAttribute("aria-sort", falling ? "descending" : "ascending");
      const key = (line) => line[0].children[head.cellIndex].dataset.order ?? "";
      const sorted = lines(table).sort((one, two) => {
        const [a, b] = [key(one), key(two)];
        return a === "" || b === "" ? compared(a, b) : (falling ? -1 : 1) * compared(a, b);
      });
      table.tBodies[0].append(...sorted.flat());
    });
  }
}
for (const button of all("button.open")) {
  button.addEventListener("click", () => {
    const row = document.getElementById(button.getAttribute("aria-controls"));
    row.hidden = !row.hidden;
    button.setAttribute("aria-expanded", String(!row.hidden));
    button.textContent = row.hidden ? "+" : "-";
  });
}
const main = document.getElementById("main");
document.getElementById("filter").addEventListener("input", (event) => {
  const words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const [line, opened] of lines(main)) {
    const text = line.textContent.toLowerCase();
    line.hidden = !words.every((word) => text.includes(word));
    if (opened) opened.hidden = line.hidden || line.querySelector("button.open").getAttribute("aria-expanded") !== "true";
  }
});
for (const box of all("input.column")) {
  box.addEventListener("change", () => {
    for (const cell of all(`:scope > * > tr > .c${box.value}`, main)) cell.hidden = !box.checked;
  });
}
for (const button of all("button.copy")) {
  button.addEventListener("click", async () => {
    const said = document.getElementById("copied");
    try {
      await navigator.clipboard.writeText(data[button.dataset.copy]);
      said.textContent = "copied";
    } catch {
      said.textContent = "the browser does not allow it";
    }
  });
}
