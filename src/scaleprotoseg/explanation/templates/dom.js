// Building the page from data: text is only ever set as text.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(2).filter((child) => child !== null));
  return element;
}

const el = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

const decimals = (value, digits = 2) => value.toFixed(digits).replace("-", "−");
const signed = (value) => (value < 0 ? "" : "+") + decimals(value);

// A number as people read it, with the exact one in its `value`.
const datum = (name, value, text = decimals(value)) => el("data", { class: name, value: String(value) }, text);

function swatch(color) {
  const mark = el("span", { class: "swatch", "aria-hidden": "true" });
  mark.style.background = `rgb(${color.join(" ")})`;
  return mark;
}

const className = (model, index) =>
  el("span", { class: "class" }, swatch(model.classes[index].color), model.classes[index].name);
