"use strict";

// curves: the value under the pointer, or at the cursor that the arrow keys move
for (const svg of document.querySelectorAll("svg.chart")) {
  const { box: [left, top, width, height], x: [x0, x1], y: [y0, y1], log, series, xLabel, yLabel } =
    JSON.parse(svg.dataset.chart);
  const readout = svg.parentElement.querySelector("output");
  const cursor = svg.querySelector(".cursor");
  const scale = log ? Math.log : (value) => value;
  const toX = (x) => left + (width * (x - x0)) / (x1 - x0);
  const toY = (y) => top + (height * (scale(y1) - scale(y))) / (scale(y1) - scale(y0));
  const dots = series.map((_, index) => {
    const dot = document.createElementNS("http://www.w3.org/2000/svg", "circle");
    dot.setAttribute("r", 4.5);
    dot.setAttribute("class", "s" + index);
    return cursor.appendChild(dot);
  });
  const nearest = (values, x) => {
    let best = 0;
    for (let i = 1; i < values.length; i++) if (Math.abs(values[i] - x) < Math.abs(values[best] - x)) best = i;
    return best;
  };
  let at = series[0].x.length - 1;
  const show = (index, isDrawn) => {
    at = Math.min(Math.max(index, 0), series[0].x.length - 1);
    const x = series[0].x[at];
    const texts = series.map((line, index) => {
      const i = nearest(line.x, x);
      dots[index].setAttribute("cx", toX(line.x[i]));
      dots[index].setAttribute("cy", toY(line.y[i]));
      return (series.length > 1 ? line.name + " " : "") + Number(line.y[i].toPrecision(4));
    });
    cursor.firstChild.setAttribute("x1", toX(x));
    cursor.firstChild.setAttribute("x2", toX(x));
    cursor.setAttribute("visibility", isDrawn ? "visible" : "hidden");
    readout.textContent = `${texts.join(", ")} ${yLabel} at ${Number(x.toPrecision(3))} ${xLabel}`;
  };
  const last = () => show(series[0].x.length - 1, false);
  svg.addEventListener("pointermove", (event) => {
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    show(nearest(series[0].x, x0 + ((point.x - left) / width) * (x1 - x0)), true);
  });
  svg.addEventListener("pointerleave", last);
  svg.addEventListener("blur", last);
  svg.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    if (move === undefined) return;
    event.preventDefault();
    show(at + move * (event.shiftKey ? 10 : 1), true);
  });
  last();
}

// before and after: a native range lies over the pictures, so fingers, mouse and keys all work
for (const input of document.querySelectorAll(".stage input")) {
  const update = () => {
    input.parentElement.style.setProperty("--at", input.value + "%");
    input.setAttribute("aria-valuetext", `${Math.round(input.value)} % ${input.dataset.left}`);
  };
  input.addEventListener("input", update);
  update(); // a page that is reloaded may come back with the bar elsewhere
}

// tables: a click on a column's name sorts by it, another one turns the order round
for (const table of document.querySelectorAll("table")) {
  const heads = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      const value = (row) => row.cells[column].dataset.value;
      const text = (row) => row.cells[column].textContent;
      const rows = [...body.rows].sort((a, b) =>
        sign * (value(a) !== undefined && value(b) !== undefined
          ? value(a) - value(b)
          : text(a).localeCompare(text(b), undefined, { numeric: true })));
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
      body.append(...rows);
    });
  });
}

// commands: a button that copies
for (const command of document.querySelectorAll(".command")) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(command.querySelector("code").textContent);
      button.textContent = "Copied";
    } catch {
      // some browsers keep the clipboard from pages that are files: the command is selected instead
      getSelection().selectAllChildren(command.querySelector("code"));
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
  command.append(button);
}

// pictures: a click fills the window with one, the arrow keys go on to its neighbours at the same place
const dialog = document.createElement("dialog");
dialog.append(document.createElement("img"), document.createElement("p"));
dialog.setAttribute("aria-label", "Picture, enlarged");
dialog.addEventListener("click", () => dialog.close());
document.body.append(dialog);
let group = [], shown = 0;
const enlarge = (index) => {
  shown = (index + group.length) % group.length;
  const [image, text] = dialog.children;
  image.src = group[shown].src;
  image.alt = group[shown].alt;
  text.textContent = group[shown].alt + (group.length > 1 ? "  (\u2190 \u2192 to compare, Esc to close)" : "");
};
dialog.addEventListener("keydown", (event) => {
  if (event.key === "ArrowLeft") enlarge(shown - 1);
  if (event.key === "ArrowRight") enlarge(shown + 1);
});
for (const image of document.querySelectorAll("img.zoom")) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "enlarge";
  button.title = "Enlarge";
  image.replaceWith(button);
  button.append(image);
  button.addEventListener("click", () => {
    group = [...button.closest(".cells, .strip").querySelectorAll("img.zoom")];
    dialog.showModal();
    enlarge(group.indexOf(image));
  });
}

// nothing moves by itself for those who asked for that
if (matchMedia("(prefers-reduced-motion: reduce)").matches) {
  for (const video of document.querySelectorAll("video")) {
    video.autoplay = false;
    video.pause();
  }
}
