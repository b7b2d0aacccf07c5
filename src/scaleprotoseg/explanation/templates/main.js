// Starts the views and draws the activation maps. Those inside closed details are started when these are opened.

const element = document.querySelector("#data");
if (element) {
  const data = JSON.parse(element.textContent);
  const model = new Model(data.model);
  enablePatches(model);

  const startView = (root) => new View(root, model, data.images[Number(root.dataset.image)]);

  const drawMaps = (root) => {
    const index = Number(root.dataset.maps);
    const evidence = new Evidence(model, data.images[index]);
    const loading = loadImage(index);
    for (const place of root.querySelectorAll("[data-unit-map]")) {
      const unit = Number(place.dataset.unitMap);
      place.replaceChildren(miniature(evidence, loading, evidence.map(evidence.units, unit), place.dataset.label));
    }
  };

  const started = new WeakSet();
  const startVisible = (scope, selector, start) => {
    for (const root of scope.querySelectorAll(selector)) {
      if (started.has(root) || root.parentElement.closest("details:not([open])")) continue;
      started.add(root);
      start(root);
    }
  };
  const startAll = (scope) => {
    startVisible(scope, ".view", startView);
    startVisible(scope, "[data-maps]", drawMaps);
  };
  startAll(document);
  document.addEventListener("toggle", (event) => {
    if (event.target.open) startAll(event.target);
  }, true);
  window.addEventListener("beforeprint", () => {
    for (const card of document.querySelectorAll(".card details")) card.open = true;
  });
}
