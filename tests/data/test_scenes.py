"""Drawn street scenes: exact, reproducible, varied, and not solvable from color alone."""

import hashlib
import math
import threading

import numpy as np
import pytest
from scipy import ndimage

from scaleprotoseg.data.dataset import SegmentationDataset
from scaleprotoseg.data.labels import packaged_table
from scaleprotoseg.data.scenes import SIZES, VERSION, Scenes, reader, scenes
from scaleprotoseg.data.scenes.camera import NEAR, Camera, facing
from scaleprotoseg.data.scenes.canvas import CLASSES, PARTS, SCALE, Canvas, Surface, class_mask, part_mask
from scaleprotoseg.data.scenes.reader import draw
from scaleprotoseg.errors import UserError

DIGESTS = {2: "a72d15472e2a568bbf0c8281d607dc0ce5109c9edbfcaa237793e321d0246d24"}
CAMERA = Camera(focal=300.0, centre=190.0, horizon=120.0, height=2.0, x=1.5, yaw=0.4)


@pytest.fixture(scope="module")
def drawn():
    return [draw("train", index) for index in range(48)]


@pytest.fixture
def few(monkeypatch):
    for split in SIZES:
        monkeypatch.setitem(SIZES, split, 2)


def same(first, second):
    return (
        np.array_equal(first.image, second.image)
        and np.array_equal(first.mask, second.mask)
        and np.array_equal(first.parts, second.parts)
    )


def test_same_seed_gives_the_same_scene_independent_of_earlier_draws(drawn):
    assert same(draw("train", 7), drawn[7])


def test_seed_split_and_index_each_change_the_scene(drawn):
    assert not any(same(drawn[0], other) for other in (draw("train", 0, seed=1), draw("val", 0), drawn[1]))


def test_drawing_changes_only_with_the_version():
    digest = hashlib.sha256()
    for split, index in (("train", 0), ("val", 1), ("test", 2)):
        sample = draw(split, index)
        digest.update(sample.image.tobytes() + sample.mask.tobytes() + sample.parts.tobytes())
    assert digest.hexdigest() == DIGESTS[VERSION], "the drawing changed: increase VERSION and record the new digest"


def test_label_table_lists_the_drawn_classes():
    assert packaged_table("scenes").names == CLASSES


def test_size_and_types(drawn):
    for sample in drawn[:3]:
        assert sample.image.size == (128, 96) and sample.image.mode == "RGB"
        assert sample.mask.shape == sample.parts.shape == (96, 128)
        assert sample.mask.dtype == sample.parts.dtype == np.uint8


def test_every_part_lies_inside_its_class(drawn):
    mask, parts = (np.stack([getattr(sample, kind) for sample in drawn]) for kind in ("mask", "parts"))
    for part, name in enumerate(PARTS.classes, start=1):
        assert set(np.unique(mask[parts == part])) == {CLASSES.index(name)}
    for whole in ("car", "building", "tree", "sign"):
        assert (parts[mask == CLASSES.index(whole)] > 0).all()


def test_classes_are_frequent_enough_for_training(drawn):
    mask = np.stack([sample.mask for sample in drawn])
    fraction = {name: (mask == index).mean() for index, name in enumerate(CLASSES)}
    present = {name: (mask == index).any(axis=(1, 2)).mean() for index, name in enumerate(CLASSES)}
    assert mask.max() < len(CLASSES)
    assert fraction["person"] >= 0.01 and fraction["sign"] >= 0.01 and fraction["car"] >= 0.04
    assert min(present.values()) > 0.6


@pytest.mark.parametrize("name", ["car", "person"])
def test_the_same_class_appears_at_many_sizes(drawn, name):
    sizes = []
    for sample in drawn:
        blobs, count = ndimage.label(sample.mask == CLASSES.index(name))
        areas = np.bincount(blobs.ravel(), minlength=count + 1)[1:]
        sizes += [math.sqrt(area) for area in areas if area >= 25]
    assert max(sizes) / min(sizes) >= 5


def test_color_alone_does_not_predict_the_classes(drawn):
    colors = np.stack([np.asarray(sample.image) for sample in drawn])[:, ::3, ::3].reshape(-1, 3) / 255.0
    labels = np.stack([sample.mask for sample in drawn])[:, ::3, ::3].ravel()
    features = np.column_stack([np.ones(len(colors)), colors, colors**2])
    weights, *_ = np.linalg.lstsq(features, np.eye(len(CLASSES))[labels], rcond=None)
    guess = (features @ weights).argmax(axis=1)
    ious = [((guess == c) & (labels == c)).sum() / ((guess == c) | (labels == c)).sum() for c in range(len(CLASSES))]
    assert np.mean(ious) < 0.4


def test_canvas_paints_image_and_labels_together():
    canvas = Canvas(10, 8, haze=(255, 255, 255), density=0.0)
    canvas.own(3)
    canvas.polygon([(6, 3), (20, 3), (20, 14), (6, 14)], (90, 60, 30), Surface.WHEEL, depth=5.0)
    surfaces, image = canvas.surfaces(), np.asarray(canvas.image())
    painted = np.zeros((8, 10), dtype=bool)
    painted[1:5, 2:7] = True
    assert np.array_equal(surfaces == Surface.WHEEL, painted)
    assert (image[painted] == (90, 60, 30)).all()
    assert canvas.areas(5) == [60, 0, 0, 20, 0]
    assert CLASSES[class_mask(surfaces)[2, 3]] == "car" and PARTS.names[part_mask(surfaces)[2, 3] - 1] == "wheel"


def test_haze_removes_color_with_distance():
    canvas = Canvas(4, 4, haze=(200, 200, 200), density=0.1)
    whole = [(0, 0), (4 * SCALE, 0), (4 * SCALE, 4 * SCALE), (0, 4 * SCALE)]
    seen = []
    for depth in (0.0, 10.0, 90.0):
        canvas.polygon(whole, (100, 100, 100), Surface.WALL, depth)
        seen.append(int(np.asarray(canvas.image())[1, 1, 0]))
    assert seen == [100, 150, 190]


def test_camera_projects_as_a_rotation_and_a_division():
    cos, sin = math.cos(0.4), math.sin(0.4)
    right, ahead = np.array([[cos, -sin], [sin, cos]]) @ np.array([4.0 - 1.5, 9.0])
    expected = (190 + 300 * right / ahead, 120 + 300 * (2.0 - 0.7) / ahead)
    assert CAMERA.point((4.0, 0.7, 9.0)) == pytest.approx(expected)
    assert CAMERA.polygon([(4.0, 0.7, 9.0)] * 3) == [pytest.approx(expected)] * 3


def test_ground_undoes_the_projection():
    x, z = CAMERA.ground(250.0, 12.0)
    assert CAMERA.depth(x, z) == pytest.approx(12.0)
    assert CAMERA.point((x, 0.0, z))[0] == pytest.approx(250.0)


def test_shapes_are_clipped_at_the_near_plane():
    camera = Camera(focal=300.0, centre=0.0, horizon=0.0, height=2.0, x=0.0, yaw=0.0)
    behind = [(-1.0, 0.0, -5.0), (1.0, 0.0, -5.0), (1.0, 0.0, -1.0)]
    assert camera.polygon(behind) == []
    crossing = camera.polygon([(-1.0, 0.0, -4.0), (1.0, 0.0, -4.0), (1.0, 0.0, 6.0), (-1.0, 0.0, 6.0)])
    lowest = max(y for _, y in crossing)
    assert len(crossing) == 4 and lowest == pytest.approx(300 * 2.0 / NEAR)


def test_facing_distinguishes_front_from_back():
    front = [(0, 10), (10, 10), (10, 0), (0, 0)]
    assert facing(front) and not facing(front[::-1])


def test_scenes_reads_what_was_drawn(tmp_path, few):
    data = scenes(tmp_path, "val")
    assert isinstance(data, Scenes) and isinstance(data, SegmentationDataset)
    assert (data.name, data.split, data.parts, len(data)) == ("scenes", "val", PARTS, 2)
    assert data.sample_names == ["val-0000", "val-0001"]
    assert data[1].name == "val-0001" and same(data[1], draw("val", 1))
    assert sorted(path.name for path in (tmp_path / "val" / "masks").iterdir()) == ["0000.png", "0001.png"]


def test_the_cache_is_drawn_once(tmp_path, few, monkeypatch):
    scenes(tmp_path, "test")
    monkeypatch.setattr(reader, "draw", lambda *_: pytest.fail("drawn again"))
    assert len(scenes(tmp_path, "test")) == 2


def test_default_cache_follows_xdg(tmp_path, few, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    scenes(None, "val")
    assert (tmp_path / "scaleprotoseg" / f"scenes-{VERSION}-seed0" / "val" / "images" / "0001.png").is_file()


def test_an_interrupted_draw_leaves_nothing(tmp_path, few, monkeypatch):
    def interrupted(split, index):
        if index:
            raise KeyboardInterrupt
        return draw(split, index)

    with monkeypatch.context() as patch:
        patch.setattr(reader, "draw", interrupted)
        with pytest.raises(KeyboardInterrupt):
            scenes(tmp_path, "train")
    assert list(tmp_path.iterdir()) == []
    assert len(scenes(tmp_path, "train")) == 2


def test_two_threads_can_draw_at_once(tmp_path, few, monkeypatch):
    both = threading.Barrier(2)

    def together(split, index):
        both.wait(timeout=20)
        return draw(split, index)

    monkeypatch.setattr(reader, "draw", together)
    results = []
    workers = [threading.Thread(target=lambda: results.append(scenes(tmp_path, "val")[0])) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(results) == 2 and same(*results)
    assert [path.name for path in tmp_path.iterdir()] == ["val"]


def test_unknown_split_error_lists_the_valid_splits(tmp_path):
    with pytest.raises(UserError, match=r"scenes: has no split 'trian'; choose one of train, val, test"):
        scenes(tmp_path, "trian")


def test_unwritable_root_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file: the scenes cannot be written to this folder.*writable folder"):
        scenes(tmp_path / "file", "train")


def test_foreign_folder_is_not_accepted_as_scenes(tmp_path):
    (tmp_path / "train").mkdir()
    with pytest.raises(UserError, match="does not contain the scenes of this version"):
        scenes(tmp_path, "train")


def test_damaged_file_is_named(tmp_path, few):
    data = scenes(tmp_path, "val")
    (tmp_path / "val" / "masks" / "0001.png").write_bytes(b"broken")
    with pytest.raises(UserError, match=r"masks/0001\.png: cannot be read; delete"):
        data[1]
