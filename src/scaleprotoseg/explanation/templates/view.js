// One explained picture: the picture with its layers on the left, the panel on the right.

class View {
  constructor(root, model, data) {
    this.root = root;
    this.evidence = new Evidence(model, data);
    this.model = model;
    this.find = (selector) => root.querySelector(selector);
    this.photo = loadPhoto(root.dataset.picture);
    this.panel = new Panel(this);
    this.asked = null;
    this.reach = null;
    this.stage = this.find(".stage");
    this.connect();
    this.pin(...data.start);
  }

  connect() {
    this.stage.addEventListener("click", (event) => this.pin(...this.pixel(event)));
    this.stage.addEventListener("pointermove", (event) => this.preview(...this.pixel(event)));
    this.stage.addEventListener("pointerleave", () => this.preview());
    this.stage.addEventListener("keydown", (event) => this.key(event));
    this.find(".opacity").addEventListener("input", (event) => {
      this.find(".prediction").style.opacity = event.target.value / 100;
      this.hideMap();
    });
    this.find(".why-not").addEventListener("change", (event) => {
      this.asked = event.target.value === "" ? null : Number(event.target.value);
      this.pin(this.x, this.y);
    });
    this.find(".back").addEventListener("click", () => this.hideMap());
    for (const button of this.root.querySelectorAll(".legend button")) {
      button.addEventListener("click", () => this.pin(Number(button.dataset.x), Number(button.dataset.y)));
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
    this.pin(clamp(this.x + step[0] * across, 0, width - 1), clamp(this.y + step[1] * down, 0, height - 1));
  }

  pin(x, y) {
    [this.x, this.y] = [x, y];
    const why = this.evidence.at(x, y, this.asked);
    Object.assign(this.root.dataset, { x, y });
    this.find(".panel").replaceChildren(...this.panel.render(why).filter((part) => part !== null));
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
    const said = order.slice(0, 2).map((index) => `${this.model.classes[index].name} ${decimals(scores[index])}`);
    line.textContent = `Under the pointer: ${said.join(", next ")}. Click to explain.`;
  }

  // The region a scale reads around the pinned pixel: (left, top, width, height) in picture pixels.
  region(scale) {
    const reach = this.model.reaches[scale];
    if (reach === null) return null;
    const { width, height, columns, rows } = this.evidence;
    const [row, column] = this.evidence.cell(this.x, this.y);
    const across = width / columns, down = height / rows;
    const left = Math.max(0, (column - reach) * across), top = Math.max(0, (row - reach) * down);
    const right = Math.min(width, (column + reach + 1) * across), bottom = Math.min(height, (row + reach + 1) * down);
    return [left, top, right - left, bottom - top];
  }

  mark() {
    const { x, y } = this;
    const { width, height } = this.evidence;
    const arm = Math.max(width, height) / 40;
    const cross = `M${x + 0.5 - arm} ${y + 0.5}h${2 * arm}M${x + 0.5} ${y + 0.5 - arm}v${2 * arm}`;
    const shapes = [svg("path", { d: cross, class: "halo" }), svg("path", { d: cross, class: "line" })];
    const region = this.reach === null ? null : this.region(this.reach);
    if (region) {
      const [left, top, wide, high] = region;
      const box = { x: left, y: top, width: wide, height: high };
      shapes.unshift(svg("rect", { ...box, class: "halo" }), svg("rect", { ...box, class: "line" }));
    }
    this.find(".marks").replaceChildren(...shapes);
  }

  // What this picture shows where the pixel is, framed as the training patches are.
  crop(scale) {
    const region = this.region(scale);
    if (!region) return null;
    const [left, top, wide, high] = region;
    const x0 = Math.max(0, left - wide / 2), y0 = Math.max(0, top - high / 2);
    const x1 = Math.min(this.evidence.width, left + 1.5 * wide), y1 = Math.min(this.evidence.height, top + 1.5 * high);
    const box = { x: left, y: top, width: wide, height: high };
    return svg("svg", { class: "crop", viewBox: `${x0} ${y0} ${x1 - x0} ${y1 - y0}`, role: "img", "aria-label": "This picture, around the pixel" },
      svg("use", { href: `#photo-${this.root.dataset.picture}`, width: this.evidence.width, height: this.evidence.height }),
      svg("rect", { ...box, class: "halo" }),
      svg("rect", { ...box, class: "line" }));
  }

  showUnit(unit) {
    const { class: index } = this.model.units[unit];
    this.showMap(this.evidence.map(this.evidence.units, unit), `Where ${this.model.classes[index].name}, ${this.model.unitName(unit)} is active`, null);
  }

  showPrototype(place) {
    const { id, scale } = this.model.prototypes[place];
    this.showMap(this.evidence.map(this.evidence.similarities, place), `Where prototype #${id} is resembled; the box is what it reads around the pixel`, scale);
  }

  showMap(map, title, scale) {
    const heat = heatCanvas(map, this.evidence.columns, this.evidence.rows);
    heat.className = "layer heat";
    this.find(".heat").replaceWith(heat);
    this.reach = scale;
    this.root.classList.add("mapped");
    this.find(".map-title").textContent = title;
    const [low, high] = range(map);
    this.find(".map-low").textContent = decimals(low);
    this.find(".map-high").textContent = decimals(high);
    this.mark();
  }

  hideMap() {
    this.reach = null;
    this.root.classList.remove("mapped");
    this.mark();
  }
}
