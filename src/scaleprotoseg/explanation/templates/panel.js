// The right half of a view: why a pixel has its class, in words, sums and patches.

const SHOWN = 8;
const PICTURED = 3;
const STRIP = 3;

class Panel {
  // `view` gives the evidence and the photo, and shows a map when one is chosen.
  constructor(view) {
    this.view = view;
    this.model = view.evidence.model;
    this.toggled = new Map();
  }

  render(why) {
    const own = this.supporters(why);
    const likened = this.model.grouped ? (own[0]?.members ?? []) : own.flatMap((group) => group.members);
    const largest = (sign) => Math.max(0, ...why.groups.map((group) => sign * group.contribution));
    const scale = { low: largest(-1), high: largest(1) };
    const pictured = new Set(own.slice(0, PICTURED));
    const rows = why.groups.map((group) => this.group(why, group, scale, pictured.has(group), group === own[0]));
    const rest = rows.splice(Math.max(SHOWN, why.groups.findLastIndex((group) => pictured.has(group)) + 1));
    const hidden = why.groups.slice(rows.length).reduce((sum, group) => sum + group.contribution, 0);
    return [
      this.sentence(why, likened.length),
      this.strip(likened),
      this.sum(why),
      this.maps(own.slice(0, PICTURED)),
      el("h3", {}, this.model.grouped ? "Every group that has a say" : "Every prototype that has a say"),
      el("p", { class: "hint" }, this.model.grouped
        ? `A group is active where all its ${this.model.exemplars(2)} are resembled at once. Bars to the right speak for the class, bars to the left against it. Open one to see them; its map appears on the picture.`
        : "A prototype is active where it is resembled. Bars to the right speak for the class, bars to the left against it. Open one to see it; its map appears on the picture."),
      el("ol", { class: "groups" }, rows),
      rest.length === 0 ? null : el("details", { class: "rest" },
        el("summary", {}, `${rest.length} smaller ones, together ${signed(hidden)}`),
        el("ol", { class: "groups", start: rows.length + 1 }, rest)),
    ];
  }

  // Groups of the class itself that speak for it; failing that, whatever does.
  supporters(why) {
    const speaking = why.groups.filter((group) => group.contribution > 0);
    const own = speaking.filter((group) => group.class === why.target);
    return own.length > 0 ? own : speaking;
  }

  // `likened`: how many prototypes the pixel is likened to.
  sentence(why, likened) {
    const name = (index) => el("strong", {}, className(this.model, index));
    const words = el("p", { class: "sentence" });
    const score = datum("logit", why.logit);
    if (why.target === why.winner) {
      words.append("This pixel is ", name(why.target), " (score ", score, ")");
      if (why.next !== why.target) words.append(". Next best: ", name(why.next), " (", datum("next", why.nextLogit), ")");
      if (likened === 0) words.append(". Nothing speaks for it; everything else is pushed down more.");
      else {
        const together = this.model.grouped && likened > 1 ? ", at the same time," : "";
        const exemplars = `${likened > 1 ? "these" : "this"} ${this.model.exemplars(likened)}`;
        words.append(`. It is ${this.model.classes[why.target].name} because it looks${together} like ${exemplars}:`);
      }
    } else {
      words.append("This pixel is not ", name(why.target), ": that scores ", score, ", while ", name(why.winner), " scores ",
        datum("next", why.nextLogit), ". ");
      const worst = why.groups.find((group) => group.contribution < 0);
      if (worst) words.append("Most against it: ", name(worst.class), `, ${this.model.unitName(worst.unit)} (${signed(worst.contribution)}). `);
      words.append(likened > 0 ? `Most for it, by what it shares with these ${this.model.exemplars(2)}:` : "Nothing speaks for it.");
    }
    return words;
  }

  // "Here" beside "training": the same reach around the pixel, and the patch it is compared with.
  strip(likened) {
    const rest = likened.length - STRIP;
    return el("div", {},
      el("ul", { class: "strip" }, likened.slice(0, STRIP).map((member) => {
        const prototype = this.model.prototypes[member.prototype];
        return el("li", {}, this.pair(prototype), el("span", { class: "hint" }, this.reads(prototype)));
      })),
      rest > 0 ? el("p", { class: "hint" }, `and ${rest} more, listed below`) : null);
  }

  pair(prototype) {
    const titled = (title, content) => content && el("figure", {}, content, el("figcaption", {}, title));
    return el("div", { class: "pair" }, titled("here", this.view.crop(prototype.scale)), prototype.source === null ? patch(prototype) : titled("in training", patch(prototype)));
  }

  reads(prototype) {
    const reach = this.model.reaches[prototype.scale];
    const { width, columns } = this.view.evidence;
    return `scale ${prototype.scale + 1}` + (reach === null ? "" : `, reads ${reachPixels(reach, width, columns)} px`);
  }

  sum(why) {
    const terms = [];
    let others = 0, count = 0;
    for (const group of why.groups) {
      if (group.class === why.target) terms.push(group.contribution);
      else {
        others += group.contribution;
        count += 1;
      }
    }
    const parts = terms.map((term, i) => `${term < 0 ? "− " : i > 0 ? "+ " : ""}${decimals(Math.abs(term))} `);
    if (count > 0) parts.push(`${others < 0 ? "−" : "+"} ${decimals(Math.abs(others))} `);
    const noun = this.model.grouped ? "groups" : "prototypes";
    return el("p", { class: "sum" },
      el("span", { class: "terms" }, ...parts, "= ", datum("total", why.logit)),
      el("span", { class: "hint" }, ` its own ${terms.length} ${noun}` + (count > 0 ? `, then the ${count} ${noun} of other classes` : "") +
        (why.logit < 0 ? ". Scores may be below zero; the highest wins." : "")));
  }

  group(why, group, scale, pictured, first) {
    const { unit } = group;
    const open = this.toggled.get(unit) ?? first;
    const body = el("div", { class: "group-body", hidden: !open });
    const draw = () => body.replaceChildren(...this.details(group));
    if (open) draw();
    const head = el("button", {
      type: "button", class: "group-head", "aria-expanded": String(open),
      onclick: () => {
        const opens = body.hidden;
        this.toggled.set(unit, opens);
        body.hidden = !opens;
        head.setAttribute("aria-expanded", String(opens));
        if (opens) {
          draw();
          this.view.showUnit(unit);
        }
      },
    },
      el("span", { class: "group-name" }, className(this.model, group.class), `, ${this.model.unitName(unit)}`),
      datum("contribution", group.contribution, signed(group.contribution)),
      this.bar(group.contribution, scale));
    const item = el("li", { class: "group", "data-unit": unit }, head);
    if (pictured) {
      item.append(el("div", { class: "glance" }, group.members.map((member) => patch(this.model.prototypes[member.prototype]))));
    }
    item.append(body);
    return item;
  }

  bar(value, { low, high }) {
    const whole = low + high || 1;
    const zero = (100 * low) / whole, length = (100 * Math.abs(value)) / whole;
    const fillBar = el("span", { class: value < 0 ? "against" : "for" });
    fillBar.style.left = `${value < 0 ? zero - length : zero}%`;
    fillBar.style.width = `${length}%`;
    const axis = el("span", { class: "zero" });
    axis.style.left = `${zero}%`;
    return el("span", { class: "bar", "aria-hidden": "true" }, fillBar, axis);
  }

  // Where the strongest groups are active, each to be enlarged on the picture.
  maps(groups) {
    if (groups.length === 0) return null;
    const { evidence, photo } = this.view;
    return el("ul", { class: "maps", "aria-label": "Where the strongest are active in this picture" }, groups.map((group) => {
      const name = this.model.unitName(group.unit);
      const label = `Where ${this.model.classes[group.class].name}, ${name} is active in this picture`;
      return el("li", {},
        el("button", { type: "button", class: "map-button", "data-unit": group.unit, title: label, onclick: () => this.view.showUnit(group.unit) },
          miniature(evidence, photo, evidence.map(evidence.units, group.unit), label),
          el("span", { class: "hint" }, `where ${name} is active`)));
    }));
  }

  details(group) {
    const weight = el("p", { class: "formula" });
    weight.append(
      "At this pixel, between the centres of its neighbouring cells: ", datum("activation", group.activation), ", times its weight ",
      datum("weight", group.weight), " = ", datum("share", group.contribution, signed(group.contribution)), ".");
    return [
      el("ul", { class: "members" }, group.members.map((member) => this.member(member))),
      this.model.grouped ? this.formula(group) : null,
      weight,
    ].filter((part) => part !== null);
  }

  formula(group) {
    const line = el("p", { class: "formula" });
    const terms = group.members.map((member) => `${decimals(member.weight)} × ${decimals(member.similarity)}`).join(" + ");
    line.append("In this pixel's cell: ", el("span", { class: "math" }, `exp(${terms}) = `, datum("cell-activation", group.cellActivation)), ".");
    return line;
  }

  member(member) {
    const prototype = this.model.prototypes[member.prototype];
    const facts = this.model.grouped
      ? ["weight ", datum("member-weight", member.weight), " × similarity ", datum("similarity", member.similarity), " = ",
        datum("member-contribution", member.contribution)]
      : ["similarity ", datum("similarity", member.similarity)];
    return el("li", { class: "member", "data-prototype-row": prototype.id },
      this.pair(prototype),
      el("div", { class: "member-text" },
        el("p", {}, `Prototype #${prototype.id}, ${this.reads(prototype)}`),
        prototype.source === null ? null : el("p", { class: "hint" }, `from ${prototype.source.image}`),
        el("p", { class: "numbers" }, facts),
        el("button", { type: "button", class: "quiet", onclick: () => this.view.showPrototype(member.prototype) },
          "Show where it is resembled")));
  }
}
