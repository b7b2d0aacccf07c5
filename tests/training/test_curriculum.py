"""The curriculum: each phase changes only what it trains, and a resumed run ends like an uninterrupted one."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from scaleprotoseg.data.labels import LabelTable
from scaleprotoseg.data.masks import resize_labels
from scaleprotoseg.data.part_masks import part_mask
from scaleprotoseg.errors import UserError
from scaleprotoseg.formats.bundle import save
from scaleprotoseg.model.heads.groups import GroupHead
from scaleprotoseg.model.network import Network
from scaleprotoseg.training.curriculum import check_parts, given_teacher, run_phases, start
from scaleprotoseg.training.fit_module import FitModule
from scaleprotoseg.training.losses.class_cells import OwnPrototypes
from scaleprotoseg.training.losses.pointing import Pointing
from scaleprotoseg.training.losses.segmentation import distillation
from scaleprotoseg.training.phases.project import Project
from scaleprotoseg.training.pointing import part_of_prototypes
from scaleprotoseg.training.recipe import Recipe
from scaleprotoseg.training.run_folder import RunFolder
from tests.builders.images import PARTS, PartToys, Toys
from tests.builders.recipes import make_recipe, recipe_values
from tests.builders.reference import latents_at_sources


class CutOffError(Exception):
    pass


def trained(recipe: Recipe, folder: Path) -> tuple[Network, dict[str, dict[str, Tensor]]]:
    dataset, states = PartToys(), {}

    def keep(name: str, network: Network) -> None:
        states[name] = {key: value.clone() for key, value in network.state_dict().items()}

    run = RunFolder(folder)
    network, done = start(recipe, dataset.labels, run)
    run_phases(network, done, recipe, dataset, run, keep)
    return network, states


@pytest.fixture(scope="module")
def uncut(tmp_path_factory):
    return trained(make_recipe(), tmp_path_factory.mktemp("uncut"))


def test_phases_change_only_what_they_name(uncut):
    _, states = uncut
    joint, tuned, groups = states["joint"], states["fine-tune"], states["groups"]
    for key in joint:
        if key.startswith(("encoder", "pyramid")):
            assert torch.equal(joint[key], groups[key]), key
    assert not torch.equal(states["projection"]["head.classifier"], tuned["head.classifier"])
    assert torch.equal(states["projection"]["head.prototypes.vectors"], groups["head.prototypes.vectors"])
    assert not torch.equal(states["grouping"]["head.weights"], groups["head.weights"])


def test_grouped_result_is_on_the_simplex_and_every_prototype_has_its_source(uncut):
    network, states = uncut
    weights = states["groups"]["head.weights"]
    torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:2]))
    assert isinstance(network.head, GroupHead)
    assert not network.training
    assert all(source is not None for source in network.sources)
    assert len(network.sources) == len(network.head.prototypes)


def cut_off(recipe, phase, step, folder, monkeypatch):
    """Train until a step of a phase and stop there."""
    whole = FitModule.training_step

    def fragile(self, batch, batch_index):
        if self.settings == recipe.phases[phase] and self.trainer.global_step == step:
            raise CutOffError
        return whole(self, batch, batch_index)

    with monkeypatch.context() as patch:
        patch.setattr(FitModule, "training_step", fragile)
        with pytest.raises(CutOffError):
            trained(recipe, folder)
    assert list(folder.glob("checkpoints/*-steps/last.ckpt"))


def frozen_joint() -> dict:
    """All phases, with an encoder that is never trained."""
    phases = recipe_values()["phases"]
    joint = {**phases["joint"], "learning_rates": {"pyramid": 0.001, "prototypes": 0.01}, "encoder_norm": "frozen"}
    return {**phases, "joint": joint}


def test_a_random_encoder_that_never_learns_is_refused():
    with pytest.raises(UserError, match="no phase trains it; name a model in warm_start"):
        make_recipe(phases=frozen_joint())


def test_a_frozen_encoder_stays_as_it_was_also_after_a_cut(tmp_path, monkeypatch):
    before, _ = start(make_recipe(), Toys().labels, RunFolder(tmp_path))
    save(before, tmp_path / "black-box")
    recipe = make_recipe(phases=frozen_joint(), warm_start=str(tmp_path / "black-box"))
    cut_off(recipe, "joint", 13, tmp_path, monkeypatch)
    network, _ = trained(recipe, tmp_path)
    for key, value in before.encoder.state_dict().items():
        assert torch.equal(value, network.encoder.state_dict()[key]), key


def test_prototypes_learn_to_point_at_their_parts(tmp_path):
    dataset, losses = PartToys(), []
    images = torch.stack([_pixels(sample) for sample in dataset])
    masks, parts = (
        torch.from_numpy(np.stack(maps))
        for maps in ([sample.mask for sample in dataset], [part_mask(sample, 0.0) for sample in dataset])
    )
    for weight in (0.0, 20.0):
        phases = {name: phase for name, phase in tied_phases().items() if name not in ("pruning", "last")}
        phases["tied"] |= {"steps": 30, "pointing": weight}
        finer = {**recipe_values()["network"], "encoder": {"name": "resnet10t", "stage": 1}}
        recipe = make_recipe(phases=phases, network=finer, store={"views": 4})
        network, states = trained(recipe, tmp_path / f"{weight:g}")
        before = copy.deepcopy(network)
        before.load_state_dict(states["grouping"])
        part_of, layer = part_of_prototypes(before, dataset), network.prototypes
        with torch.no_grad():
            maps = network(images).similarities
        loss = Pointing(OwnPrototypes(layer.prototype_class, layer.prototype_scale, 3), part_of)
        losses.append(float(loss(maps, parts, resize_labels(masks, maps.shape[-2:]))))
    assert losses[1] < 0.7 * losses[0], losses


def test_a_student_comes_nearer_to_its_teacher(tmp_path):
    torch.manual_seed(3)
    teacher, _ = start(make_recipe(), Toys().labels, RunFolder(tmp_path))
    with torch.no_grad():
        teacher.head.classifier.normal_(std=3)
    save(teacher, tmp_path / "teacher")
    images = torch.stack([_pixels(sample) for sample in Toys()])
    gaps = []
    for weight in (0.0, 20.0):
        joint = {**frozen_joint()["joint"], "distillation": weight}
        recipe = make_recipe(phases={"joint": joint}, warm_start=str(tmp_path / "teacher"))
        student, _ = trained(recipe, tmp_path / f"student-{weight}")
        with torch.no_grad():
            gaps.append(float(distillation(student(images).logits, teacher.eval()(images).logits)))
    assert gaps[1] < 0.8 * gaps[0]


def _pixels(sample):
    return torch.tensor(np.asarray(sample.image)).permute(2, 0, 1) / 255


def test_what_nothing_can_be_learnt_from_is_refused_before_a_training(tmp_path):
    same, _ = start(make_recipe(), Toys().labels, RunFolder(tmp_path))
    save(same, tmp_path / "same")
    joint = {**frozen_joint()["joint"], "distillation": 1.0}

    def check(name, **changes):
        recipe = make_recipe(phases={"joint": joint}, warm_start=str(tmp_path / name))
        return given_teacher(replace(recipe, network=replace(recipe.network, **changes)))

    assert check("same").labels == same.labels
    with pytest.raises(UserError, match=r"same: cannot be the teacher, because its input differs from network\.input"):
        check("same", input=replace(same.config.input, size=24))
    with pytest.raises(UserError, match=r"weights\.pth: distillation needs a whole model"):
        check("weights.pth")


def test_missing_parts_are_found_before_a_training():
    joint, blank = tied_phases()["joint"], Toys()
    blank.parts = PARTS
    chosen = make_recipe(phases={"joint": joint, "choice": {"do": "prune-by-parts"}})
    pointing = make_recipe(phases={"joint": {**joint, "pointing": 1.0}})
    for needs, recipe in {r"prune-by-parts in phases\.choice": chosen, r"pointing in phases\.joint": pointing}.items():
        for dataset in (Toys(), blank):
            with pytest.raises(
                UserError, match=f"toys: no training image .* part, for {needs}; give the annotations in data"
            ):
                check_parts(recipe, dataset)
        check_parts(recipe, PartToys())
        check_parts(make_recipe(phases={"joint": joint}), Toys())


def test_a_run_cut_off_between_phases_ends_as_an_uncut_one(uncut, tmp_path, monkeypatch):
    recipe = make_recipe()
    with monkeypatch.context() as patch:
        patch.setattr(Project, "run", lambda *_: (_ for _ in ()).throw(CutOffError))
        with pytest.raises(CutOffError):
            trained(recipe, tmp_path)
    network, states = trained(recipe, tmp_path)
    assert next(iter(states)) == "projection"
    for key, value in uncut[0].state_dict().items():
        assert torch.equal(value, network.state_dict()[key]), key


def test_a_run_is_not_taken_up_with_other_classes(tmp_path):
    network, _ = start(make_recipe(), Toys().labels, RunFolder(tmp_path))
    save(network, tmp_path / "checkpoints" / "00")
    with pytest.raises(UserError, match="begun with other classes"):
        start(make_recipe(), LabelTable.from_json({"classes": ["ground", "disc"]}), RunFolder(tmp_path))


def test_a_fault_found_by_a_worker_is_one_line(tmp_path):
    class Unlabeled(Toys):
        def __getitem__(self, index):
            return replace(super().__getitem__(index), mask=None)

    values = recipe_values()
    recipe = make_recipe(data={**values["data"], "workers": 1})
    network, done = start(recipe, Toys().labels, RunFolder(tmp_path))
    with pytest.raises(UserError) as error:
        run_phases(network, done, recipe, Unlabeled(), RunFolder(tmp_path), lambda *_: None)
    assert str(error.value).startswith("toys: toy-") and "\n" not in str(error.value)


def test_an_interrupted_fit_is_an_interrupt(tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(FitModule, "training_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trained(make_recipe(), tmp_path)


@pytest.mark.parametrize(("phase", "step"), [("joint", 5), ("joint", 17), ("groups", 9)])
def test_a_run_cut_off_within_a_phase_ends_as_an_uncut_one(uncut, phase, step, tmp_path, monkeypatch):
    recipe = make_recipe()
    cut_off(recipe, phase, step, tmp_path, monkeypatch)
    network, states = trained(recipe, tmp_path)
    assert set(states) < set(uncut[1]) or phase == "joint"
    for key, value in uncut[0].state_dict().items():
        assert torch.equal(value, network.state_dict()[key]), key


def test_same_seed_same_weights_other_seed_others(uncut, tmp_path):
    again, _ = trained(make_recipe(), tmp_path / "again")
    for key, value in uncut[0].state_dict().items():
        assert torch.equal(value, again.state_dict()[key]), key
    other, _ = trained(make_recipe(seed=1), tmp_path / "other")
    assert not torch.equal(other.encoder.net.conv1[0].weight, again.encoder.net.conv1[0].weight)


def tied_phases() -> dict:
    """Noisy copies in joint training, then tied prototypes and groups with a feature cache."""
    phases = recipe_values()["phases"]
    noise = {"noise": 0.2, "invariance": 1.0, "redundancy": 0.5}
    rates = {"pyramid": 0.01, "classifier": 0.01}
    return {
        "joint": {**phases["joint"], "steps": 8, **noise},
        "projection": {"do": "project"},
        "grouping": {"do": "group", "groups": 2},
        "tied": {"steps": 8, "learning_rates": {**rates, "groups": 0.01}, "tied": True, "pointing": 2.0, **noise},
        "pruning": {"do": "prune"},
        "last": {"steps": 8, "learning_rates": rates, "tied": True, "distillation": 1.0, "teacher": "joint", **noise},
    }


@pytest.fixture(scope="module")
def uncut_tied(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tied")
    return folder, *trained(make_recipe(phases=tied_phases(), store={"views": 2}), folder)


def test_tied_prototypes_end_as_training_patches_and_pruned_weights_stay_away(uncut_tied):
    folder, network, states = uncut_tied
    assert not torch.equal(states["tied"]["pyramid.branches.0.weight"], states["grouping"]["pyramid.branches.0.weight"])
    torch.testing.assert_close(latents_at_sources(network, Toys()), network.prototypes.vectors, atol=1e-5, rtol=1e-4)
    assert torch.equal(states["pruning"]["head.weights"], states["last"]["head.weights"])
    assert not (folder / "features").exists()
    assert [checkpoint.name for checkpoint in (folder / "checkpoints").iterdir()] == ["05"]


@pytest.mark.parametrize(("phase", "step"), [("joint", 5), ("tied", 5), ("last", 5)])
def test_a_cut_off_run_with_noise_and_a_store_ends_as_an_uncut_one(uncut_tied, phase, step, tmp_path, monkeypatch):
    recipe = make_recipe(phases=tied_phases(), store={"views": 2})
    cut_off(recipe, phase, step, tmp_path, monkeypatch)
    network, _ = trained(recipe, tmp_path)
    for key, value in uncut_tied[1].state_dict().items():
        assert torch.equal(value, network.state_dict()[key]), key
