// Helpers that create elements. Strings from the data are only ever inserted as text, never as HTML.

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

// A rounded number, whose `value` attribute holds the exact one.
const datum = (name, value, text = decimals(value)) => el("data", { class: name, value: String(value) }, text);

// A rectangle or path, drawn twice, dark under light, so that it is visible on any image.
const outlined = (tag, attributes) => [
  svg(tag, { ...attributes, class: "halo" }),
  svg(tag, { ...attributes, class: "line" }),
];

function swatch(color) {
  const mark = el("span", { class: "swatch", "aria-hidden": "true" });
  mark.style.background = `rgb(${color.join(" ")})`;
  return mark;
}

const className = (model, index) =>
  el("span", { class: "class" }, swatch(model.classes[index].color), model.classes[index].name);
