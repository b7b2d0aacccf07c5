// The arithmetic of a decision: the same upsampling and the same sums as `Decomposition.at` in Python.

function floats(text) {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return new Float32Array(bytes.buffer); // Little-endian, as in all browsers.
}

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

class Model {
  constructor(data) {
    Object.assign(this, data);
    this.classifier = floats(data.classifier);
    this.hasSources = data.prototypes.some((prototype) => prototype.source !== null);
  }

  // The noun for prototypes: without any known source they cannot be called training patches.
  exemplars(count) {
    const [one, many] = this.hasSources ? ["training patch", "training patches"] : ["prototype", "prototypes"];
    return count === 1 ? one : many;
  }

  weight(target, unit) {
    return this.classifier[target * this.units.length + unit];
  }

  unitName(unit) {
    const { number, members } = this.units[unit];
    return this.grouped ? `group ${number}` : `prototype #${this.prototypes[members[0][0]].id}`;
  }
}

class Evidence {
  constructor(model, data) {
    Object.assign(this, data);
    this.model = model;
    this.logits = floats(data.logits);
    this.units = floats(data.units);
    this.similarities = data.similarities === null ? this.units : floats(data.similarities);
  }

  map(maps, index) {
    const cells = this.rows * this.columns;
    return maps.subarray(index * cells, (index + 1) * cells);
  }

  cell(x, y) {
    return [
      Math.min(Math.floor((y * this.rows) / this.height), this.rows - 1),
      Math.min(Math.floor((x * this.columns) / this.width), this.columns - 1),
    ];
  }

  // Bilinear upsampling with half-pixel centers, at one pixel of all maps.
  upsampled(maps, x, y) {
    const r = clamp(((y + 0.5) * this.rows) / this.height - 0.5, 0, this.rows - 1);
    const c = clamp(((x + 0.5) * this.columns) / this.width - 0.5, 0, this.columns - 1);
    const top = Math.floor(r), left = Math.floor(c);
    const bottom = Math.min(top + 1, this.rows - 1), right = Math.min(left + 1, this.columns - 1);
    const cells = this.rows * this.columns;
    return Float64Array.from({ length: maps.length / cells }, (_, i) => {
      const line = (row) =>
        maps[i * cells + row * this.columns + left] * (1 - c + left) +
        maps[i * cells + row * this.columns + right] * (c - left);
      return line(top) * (1 - r + top) + line(bottom) * (r - top);
    });
  }

  ranking(x, y) {
    const scores = this.upsampled(this.logits, x, y);
    const order = Array.from(scores.keys()).sort((a, b) => scores[b] - scores[a]);
    return { scores, order };
  }

  // Explains the class with index `asked`, or the predicted class.
  at(x, y, asked = null) {
    const { scores, order } = this.ranking(x, y);
    const target = asked ?? order[0];
    const next = order.find((index) => index !== target) ?? target;
    const cell = this.cell(x, y);
    const activations = this.upsampled(this.units, x, y);
    const groups = this.model.units
      .map((unit, index) => this.group(index, this.model.weight(target, index), activations[index], cell))
      .filter((group) => group.weight !== 0)
      .sort((a, b) => Math.abs(b.contribution) - Math.abs(a.contribution));
    return { x, y, cell, target, winner: order[0], logit: scores[target], next, nextLogit: scores[next], groups };
  }

  group(unit, weight, activation, [row, column]) {
    const position = row * this.columns + column;
    const members = this.model.units[unit].members
      .map(([prototype, memberWeight]) => {
        const similarity = this.map(this.similarities, prototype)[position];
        return { prototype, weight: memberWeight, similarity, contribution: memberWeight * similarity };
      })
      .sort((a, b) => b.contribution - a.contribution);
    return {
      unit,
      class: this.model.units[unit].class,
      weight,
      activation,
      contribution: weight * activation,
      cellActivation: this.map(this.units, unit)[position],
      members,
    };
  }
}
