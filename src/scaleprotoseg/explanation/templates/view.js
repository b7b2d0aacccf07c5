// One explained image: the image and its layers on the left, the panel on the right.

class View {
  constructor(root, model, data) {
    this.root = root;
    this.evidence = new Evidence(model, data);
    this.model = model;
    this.find = (selector) => root.querySelector(selector);
    this.loading = loadImage(root.dataset.image);
    this.panel = new Panel(this);
    this.asked = null;
    this.mappedScale = null;
    this.stage = this.find(".stage");
    this.connect();
    this.explain(...data.start);
  }

  connect() {
    this.stage.addEventListener("click", (event) => this.explain(...this.pixel(event)));
    this.stage.addEventListener("pointermove", (event) => this.preview(...this.pixel(event)));
    this.stage.addEventListener("pointerleave", () => this.preview());
    this.stage.addEventListener("keydown", (event) => this.key(event));
    this.find(".opacity").addEventListener("input", (event) => {
      this.find(".prediction").style.opacity = event.target.value / 100;
      this.hideMap();
    });
    this.find(".why-not").addEventListener("change", (event) => {
      this.asked = event.target.value === "" ? null : Number(event.target.value);
      this.explain(this.x, this.y);
    });
    this.find(".back").addEventListener("click", () => this.hideMap());
    for (const button of this.root.querySelectorAll(".legend button")) {
      button.addEventListener("click", () => this.explain(Number(button.dataset.x), Number(button.dataset.y)));
    }
  }

  pixel(event) {
    const area = this.stage.getBoundingClientRect();
    const { width, height } = this.evidence;
    return [
      clamp(Math.floor(((event.clientX - area.left) / area.width) * width), 0, width - 1),
      clamp(Math.floor(((event.clientY - area.top) / area.height) * height), 0, height - 1),
    ];
  }

  key(event) {
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.key === "Escape") this.hideMap();
    const step = steps[event.key];
    if (!step) return;
    event.preventDefault();
    const { width, height, columns, rows } = this.evidence;
    const [across, down] = event.shiftKey ? [Math.ceil(width / columns), Math.ceil(height / rows)] : [1, 1];
    this.explain(clamp(this.x + step[0] * across, 0, width - 1), clamp(this.y + step[1] * down, 0, height - 1));
  }

  explain(x, y) {
    [this.x, this.y] = [x, y];
    const why = this.evidence.at(x, y, this.asked);
    Object.assign(this.root.dataset, { x, y });
    this.find(".panel").replaceChildren(...this.panel.render(why).filter((child) => child !== null));
    this.find(".position").textContent =
      `Column ${x}, row ${y}: ${this.model.classes[why.target].name} scores ${decimals(why.logit)}.`;
    this.mark();
  }

  preview(x, y) {
    const line = this.find(".preview");
    if (x === undefined) {
      line.textContent = "";
      return;
    }
    const { scores, order } = this.evidence.ranking(x, y);
    const best = order.slice(0, 2).map((index) => `${this.model.classes[index].name} ${decimals(scores[index])}`);
    line.textContent = `Under the pointer: ${best.join(", next best ")}. Click to explain.`;
  }

  // The region shown for a scale around the explained pixel, clipped to the image and in its pixels; null if unknown.
  region(scale) {
    const reach = this.model.reaches[scale];
    if (reach === null) return null;
    const { width, height, columns, rows } = this.evidence;
    const [row, column] = this.evidence.cell(this.x, this.y);
    const across = width / columns, down = height / rows;
    const x = Math.max(0, (column - reach) * across), y = Math.max(0, (row - reach) * down);
    const right = Math.min(width, (column + reach + 1) * across), bottom = Math.min(height, (row + reach + 1) * down);
    return { x, y, width: right - x, height: bottom - y };
  }

  // Draws a cross at the explained pixel and, on a similarity map, the region of the scale.
  mark() {
    const { x, y } = this;
    const { width, height } = this.evidence;
    const arm = Math.max(width, height) / 40;
    const cross = `M${x + 0.5 - arm} ${y + 0.5}h${2 * arm}M${x + 0.5} ${y + 0.5 - arm}v${2 * arm}`;
    const region = this.mappedScale === null ? null : this.region(this.mappedScale);
    this.find(".marks").replaceChildren(...(region ? outlined("rect", region) : []), ...outlined("path", { d: cross }));
  }

  // The surroundings of the explained pixel, framed in the same way as the training patches.
  crop(scale) {
    const region = this.region(scale);
    if (!region) return null;
    const { x, y, width, height } = region;
    const x0 = Math.max(0, x - width / 2), y0 = Math.max(0, y - height / 2);
    const x1 = Math.min(this.evidence.width, x + 1.5 * width), y1 = Math.min(this.evidence.height, y + 1.5 * height);
    return svg("svg", { class: "crop", viewBox: `${x0} ${y0} ${x1 - x0} ${y1 - y0}`, role: "img", "aria-label": "This image, around the pixel" },
      svg("use", { href: `#image-${this.root.dataset.image}`, width: this.evidence.width, height: this.evidence.height }),
      outlined("rect", region));
  }

  showUnit(unit) {
    const { class: index } = this.model.units[unit];
    const title = `Activation of ${this.model.classes[index].name}, ${this.model.unitName(unit)}`;
    this.showMap(this.evidence.map(this.evidence.units, unit), title, null);
  }

  showPrototype(position) {
    const { id, scale } = this.model.prototypes[position];
    const title = `Similarity to prototype #${id}. The box is the region shown for its scale.`;
    this.showMap(this.evidence.map(this.evidence.similarities, position), title, scale);
  }

  showMap(map, title, scale) {
    const heat = heatCanvas(map, this.evidence.columns, this.evidence.rows);
    heat.className = "layer heat";
    this.find(".heat").replaceWith(heat);
    this.mappedScale = scale;
    this.root.classList.add("mapped");
    this.find(".map-title").textContent = title;
    const [low, high] = range(map);
    this.find(".map-low").textContent = decimals(low);
    this.find(".map-high").textContent = decimals(high);
    this.mark();
  }

  hideMap() {
    this.mappedScale = null;
    this.root.classList.remove("mapped");
    this.mark();
  }
}
