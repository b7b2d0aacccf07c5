// The right column of a view: the explanation of one pixel in words, sums and training patches.

const SHOWN_GROUPS = 8;
const MAPPED_GROUPS = 3;
const SHOWN_COMPARISONS = 3;

class Panel {
  // `view` provides the evidence and the image, and shows the map that is chosen.
  constructor(view) {
    this.view = view;
    this.model = view.evidence.model;
    this.toggled = new Map();
  }

  render(why) {
    const supporting = this.supporting(why);
    const compared = this.model.grouped
      ? (supporting[0]?.members ?? [])
      : supporting.flatMap((group) => group.members);
    const strongest = supporting.slice(0, MAPPED_GROUPS);
    return [
      this.sentence(why, compared.length),
      this.comparisons(compared),
      this.sum(why),
      this.maps(strongest),
      el("h3", {}, `All ${this.model.grouped ? "groups" : "prototypes"} with a weight for this class`),
      el("p", { class: "hint" }, this.hint()),
      ...this.groups(why, strongest),
    ];
  }

  // Groups of the class itself with a positive contribution; if there are none, those of other classes.
  supporting(why) {
    const positive = why.groups.filter((group) => group.contribution > 0);
    const own = positive.filter((group) => group.class === why.target);
    return own.length > 0 ? own : positive;
  }

  // `compared`: the number of prototypes that are shown as comparisons.
  sentence(why, compared) {
    const words = why.target === why.winner ? this.winning(why, compared) : this.losing(why, compared);
    return el("p", { class: "sentence" }, words);
  }

  winning(why, compared) {
    const words = ["This pixel is ", this.strong(why.target), " (score ", datum("logit", why.logit), ")"];
    if (why.next !== why.target) words.push(". Next best: ", this.strong(why.next), " (", datum("next", why.nextLogit), ")");
    if (compared === 0) return [...words, ". No contribution to its score is positive, but all other scores are lower."];
    const these = compared === 1 ? "this" : this.model.grouped ? "all of these" : "these";
    const together = this.model.grouped && compared > 1 ? " at once" : "";
    return [...words, `. It is ${this.model.classes[why.target].name} because it is similar to ${these} ${this.model.exemplars(compared)}${together}:`];
  }

  losing(why, compared) {
    const words = ["This pixel is not ", this.strong(why.target), ", which scores ", datum("logit", why.logit), ", but ",
      this.strong(why.winner), ", which scores ", datum("next", why.nextLogit), ". "];
    const worst = why.groups.find((group) => group.contribution < 0);
    if (worst) words.push("Largest negative contribution: ", this.strong(worst.class), `, ${this.model.unitName(worst.unit)} (${signed(worst.contribution)}). `);
    if (compared === 0) return [...words, "No contribution to its score is positive."];
    return [...words, `The strongest evidence for it is similarity to ${compared === 1 ? "this" : "these"} ${this.model.exemplars(compared)}:`];
  }

  strong(index) {
    return el("strong", {}, className(this.model, index));
  }

  hint() {
    const bars = "Bars to the right are positive contributions, bars to the left negative ones.";
    return this.model.grouped
      ? `A group is active where the image is similar to all of its ${this.model.exemplars(2)} at once. ${bars} Open a group to see them and to show its activation map on the image.`
      : `A prototype is active where the image is similar to it. ${bars} Open a prototype to see its source and to show its activation map on the image.`;
  }

  // The surroundings of the pixel beside each training patch that they are compared with.
  comparisons(members) {
    const rest = members.length - SHOWN_COMPARISONS;
    return el("div", {},
      el("ul", { class: "comparisons" }, members.slice(0, SHOWN_COMPARISONS).map((member) => {
        const prototype = this.model.prototypes[member.prototype];
        return el("li", {}, this.pair(prototype), el("span", { class: "hint" }, this.scale(prototype)));
      })),
      rest > 0 ? el("p", { class: "hint" }, `and ${rest} more, listed below`) : null);
  }

  pair(prototype) {
    const titled = (title, content) => content && el("figure", {}, content, el("figcaption", {}, title));
    return el("div", { class: "pair" },
      titled("here", this.view.crop(prototype.scale)),
      prototype.source === null ? patch(prototype) : titled("in training", patch(prototype)));
  }

  scale(prototype) {
    const reach = this.model.reaches[prototype.scale];
    const { width, columns } = this.view.evidence;
    return `scale ${prototype.scale + 1}` + (reach === null ? "" : `, region of ${regionPixels(reach, width, columns)} px`);
  }

  sum(why) {
    const own = why.groups.filter((group) => group.class === why.target);
    const foreign = why.groups.filter((group) => group.class !== why.target);
    const terms = own.map(({ contribution }, i) => `${contribution < 0 ? "− " : i > 0 ? "+ " : ""}${decimals(Math.abs(contribution))} `);
    if (foreign.length > 0) {
      const others = total(foreign);
      terms.push(`${others < 0 ? "−" : "+"} ${decimals(Math.abs(others))} `);
    }
    const noun = (count) => `${count} ${this.model.grouped ? "group" : "prototype"}${count === 1 ? "" : "s"}`;
    return el("p", { class: "sum" },
      el("span", { class: "terms" }, ...terms, "= ", datum("total", why.logit)),
      el("span", { class: "hint" }, `${noun(own.length)} of the class itself` +
        (foreign.length > 0 ? `, then the sum of ${noun(foreign.length)} of other classes` : "") +
        (why.logit < 0 ? ". Scores can be negative; the highest wins." : ".")));
  }

  // Miniature activation maps of the strongest groups; clicking one shows it on the image.
  maps(groups) {
    if (groups.length === 0) return null;
    const { evidence, loading } = this.view;
    return el("ul", { class: "maps", "aria-label": `Activation maps of the strongest ${this.model.grouped ? "groups" : "prototypes"} in this image` }, groups.map(({ unit, class: index }) => {
      const name = this.model.unitName(unit);
      const label = `Activation of ${this.model.classes[index].name}, ${name} in this image`;
      return el("li", {},
        el("button", { type: "button", class: "map-button", "data-unit": unit, title: label, onclick: () => this.view.showUnit(unit) },
          miniature(evidence, loading, evidence.map(evidence.units, unit), label),
          el("span", { class: "hint" }, `activation of ${name}`)));
    }));
  }

  // The list of all groups; small contributions are folded away, `strongest` groups never.
  groups(why, strongest) {
    const largest = (sign) => Math.max(0, ...why.groups.map((group) => sign * group.contribution));
    const range = { low: largest(-1), high: largest(1) };
    const count = Math.max(SHOWN_GROUPS, why.groups.findLastIndex((group) => strongest.includes(group)) + 1);
    const row = (group) => this.group(group, range, strongest.includes(group), group === strongest[0]);
    const shown = why.groups.slice(0, count), rest = why.groups.slice(count);
    return [
      el("ol", { class: "groups" }, shown.map(row)),
      rest.length === 0 ? null : el("details", { class: "rest" },
        el("summary", {}, `${rest.length} smaller contributions, ${signed(total(rest))} together`),
        el("ol", { class: "groups", start: count + 1 }, rest.map(row))),
    ];
  }

  group(group, range, withPatches, first) {
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
      this.bar(group.contribution, range));
    const patches = withPatches
      ? el("div", { class: "group-patches" }, group.members.map((member) => patch(this.model.prototypes[member.prototype])))
      : null;
    return el("li", { class: "group", "data-unit": unit }, head, patches, body);
  }

  bar(value, { low, high }) {
    const whole = low + high || 1;
    const zero = (100 * low) / whole, length = (100 * Math.abs(value)) / whole;
    const fillBar = el("span", { class: value < 0 ? "negative" : "positive" });
    fillBar.style.left = `${value < 0 ? zero - length : zero}%`;
    fillBar.style.width = `${length}%`;
    const axis = el("span", { class: "zero" });
    axis.style.left = `${zero}%`;
    return el("span", { class: "bar", "aria-hidden": "true" }, fillBar, axis);
  }

  details(group) {
    return [
      el("ul", { class: "members" }, group.members.map((member) => this.member(member))),
      ...(this.model.grouped ? [this.formula(group)] : []),
      el("p", { class: "formula" },
        "At this pixel, interpolated between the neighboring cells: ", datum("activation", group.activation), ", times the weight ",
        datum("weight", group.weight), " = ", datum("product", group.contribution, signed(group.contribution)), "."),
    ];
  }

  formula(group) {
    const terms = group.members.map((member) => `${decimals(member.weight)} × ${decimals(member.similarity)}`).join(" + ");
    return el("p", { class: "formula" },
      "In the cell of this pixel: ",
      el("span", { class: "math" }, `exp(${terms}) = `, datum("cell-activation", group.cellActivation)), ".");
  }

  member(member) {
    const prototype = this.model.prototypes[member.prototype];
    const numbers = this.model.grouped
      ? ["weight ", datum("member-weight", member.weight), " × similarity ", datum("similarity", member.similarity), " = ",
        datum("member-contribution", member.contribution)]
      : ["similarity ", datum("similarity", member.similarity)];
    return el("li", { class: "member", "data-prototype-row": prototype.id },
      this.pair(prototype),
      el("div", { class: "member-text" },
        el("p", {}, `Prototype #${prototype.id}, ${this.scale(prototype)}`),
        prototype.source === null ? null : el("p", { class: "hint" }, `from ${prototype.source.image}`),
        el("p", { class: "numbers" }, numbers),
        el("button", { type: "button", class: "quiet", onclick: () => this.view.showPrototype(member.prototype) },
          "Show the similarity map")));
  }
}

const total = (groups) => groups.reduce((sum, group) => sum + group.contribution, 0);
