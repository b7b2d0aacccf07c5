from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from scaleprotoseg.data.dataset import Sample
from scaleprotoseg.data.labels import VOID
from scaleprotoseg.errors import UserError
from scaleprotoseg.evaluation.context import Context
from scaleprotoseg.evaluation.interpretability import interpretability
from scaleprotoseg.evaluation.overlap import QUANTILES
from scaleprotoseg.explanation.paper_figures import style
from scaleprotoseg.explanation.paper_figures.overlap import overlap_figure
from scaleprotoseg.explanation.paper_figures.scales import scale_usage, scales_figure
from scaleprotoseg.explanation.paper_figures.style import file_stems, paper_style, save, short_name
from scaleprotoseg.explanation.paper_figures.tiles import Heat, draw_patch
from scaleprotoseg.explanation.paper_figures.write import choose_images, write_figures
from scaleprotoseg.model.config import EncoderConfig, HeadConfig, NetworkConfig, PyramidConfig
from scaleprotoseg.model.heads.groups import GroupHead
from scaleprotoseg.model.heads.prototypes import PrototypeHead
from scaleprotoseg.model.network import Network
from tests.builders.images import Given
from tests.explanation import toy

SVG, LINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}href"
NAMES = ("a/b: $x^2$", "A.b - $x^2$", "../../文", "nul\x07\nline " + "x" * 300)
"""Class names with the same file name, formulas, paths, characters that the font lacks or that XML does not allow."""

STEMS = file_stems(toy.HOSTILE)


class Named(Given):
    """A list of samples whose classes have given names."""

    def __init__(self, samples: Sequence[Sample], names: Sequence[str] = toy.HOSTILE) -> None:
        super().__init__(list(samples), parts=None)
        self.labels = toy.table(names)


def sample(name: str, seed: int) -> Sample:
    """An image whose labels are large regions, one or more for each class."""
    blocks = np.random.default_rng(seed).permutation(np.arange(12) % 4).reshape(3, 4).astype(np.uint8)
    mask = np.asarray(Image.fromarray(blocks).resize(toy.SIZE, Image.Resampling.NEAREST)).copy()
    mask[:5] = VOID
    return Sample(name, toy.drawn(seed), mask)


DATA = Named([sample("first", 0), sample("second", 1), sample("third", 2)])


def texts(path: Path) -> list[str]:
    """Texts in an SVG file, in the order in which they are drawn."""
    return ["".join(element.itertext()) for element in ElementTree.parse(path).iter(f"{SVG}text")]


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def renamed(network: Network, names: Sequence[str] = NAMES) -> Network:
    network.labels = toy.table(names)
    return network


def without_class(network: Network, label: int) -> Network:
    """The network without the prototypes of a class."""
    assert isinstance(network.head, PrototypeHead)
    keep = (network.head.prototypes.prototype_class != label).nonzero().flatten()
    network.replace_head(network.head.select(keep), [network.sources[index] for index in keep.tolist()])
    return network


@pytest.fixture
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """PNG files at a low resolution, which take little time."""
    monkeypatch.setitem(style.STYLE, "savefig.dpi", 40)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the figures of the toy network."""
    folder = tmp_path_factory.mktemp("figures") / "new" / "folder"
    write_figures(toy.network(), DATA, folder)
    return folder


def test_every_figure_is_written_as_svg_and_as_png(folder: Path) -> None:
    stems = ["overlap", "scales", *(f"groups-{stem}" for stem in STEMS)]
    assert sorted(files(folder)) == sorted(f"{stem}.{kind}" for stem in stems for kind in ("svg", "png"))
    for stem in stems:
        image = Image.open(folder / f"{stem}.png")
        width = float(ElementTree.parse(folder / f"{stem}.svg").getroot().attrib["width"].removesuffix("pt")) / 72
        assert image.width == pytest.approx(300 * width, abs=1)
        assert width in (3.25, 6.875)


def test_overlap_shows_the_values_of_the_metrics(folder: Path) -> None:
    metrics = interpretability(Context(toy.network(), DATA))
    shown = texts(folder / "overlap.svg")
    assert list(metrics["overlap"]) == ["within_scale", "across_scales", "groups"]
    for name, values in zip(("within a scale", "across scales", "groups"), metrics["overlap"].values(), strict=True):
        place = shown.index(name) + 1
        assert shown[place : place + len(QUANTILES)] == [f"{value:.3f}" for value in values.values()]
    assert [name for name in shown if name in ("80", "90", "95", "99")] == ["80", "90", "95", "99"]


def test_kinds_without_values_are_left_out(tmp_path: Path) -> None:
    means: dict[str, list[float | None]] = {
        "within_scale": [0.5, 0.25, None, 0.125],
        "across_scales": [None, None, None, None],
    }
    with paper_style():
        figure = overlap_figure(means)
        save(figure, tmp_path, "one")
        save(overlap_figure({}), tmp_path, "none")
    (line,) = figure.axes[0].lines
    np.testing.assert_array_equal(line.get_xdata(), [80, 90, 95, 99])
    np.testing.assert_array_equal(line.get_ydata(), [0.5, 0.25, np.nan, 0.125])
    shown = texts(tmp_path / "one.svg")
    assert shown[shown.index("within a scale") + 1 :][:4] == ["0.500", "0.250", "–", "0.125"]
    assert not {"across scales", "groups"} & set(shown) and "groups" not in " ".join(shown)
    assert "no class has two prototypes" in texts(tmp_path / "none.svg")


@pytest.mark.parametrize("grouped", [True, False])
def test_scales_show_the_fractions_of_the_weights(tmp_path: Path, grouped: bool) -> None:
    network = toy.network(grouped)
    head, layer = network.head, network.prototypes
    assert layer is not None
    expected = np.zeros((4, 3))
    used: list[set[int]] = [set() for _ in range(4)]
    for index, (label, scale) in enumerate(
        zip(layer.prototype_class.tolist(), layer.prototype_scale.tolist(), strict=True)
    ):
        weights = head.unit_weights()[:, index].tolist() if isinstance(head, GroupHead) else [1.0]
        expected[label, scale] += sum(weights)
        used[label] |= {index} if any(weights) else set()
    expected /= expected.sum(axis=1, keepdims=True)
    fractions, counts = scale_usage(network)
    np.testing.assert_allclose(fractions, expected, atol=1e-6)
    assert counts.tolist() == [len(indices) for indices in used]
    with paper_style():
        save(scales_figure(network), tmp_path, "scales")
    shown = texts(tmp_path / "scales.svg")
    percent = [f"{100 * fraction:.0f}" for scale in expected.T for fraction in scale if fraction >= 0.1]
    assert "\n".join([*percent, *map(str, counts)]) in "\n".join(shown)
    assert [name for name in shown if name.startswith("scale ")] == [f"scale {i} (dilation {i})" for i in (1, 2, 3)]
    assert ("percentage of the weights in groups" in shown) == grouped


def test_groups_show_their_members_by_decreasing_weight(folder: Path) -> None:
    network = toy.network()
    head = network.head
    assert isinstance(head, GroupHead)
    counts = np.stack([np.bincount(sample.mask.ravel(), minlength=256) for sample in DATA.samples])
    for label, stem in enumerate(STEMS):
        sample = DATA.samples[counts[:, label].argmax()]
        with torch.inference_mode():
            image = torch.from_numpy(np.array(sample.image)).permute(2, 0, 1)[None] / 255
            output = network(image)
        words, images = [], 3
        for number, unit in enumerate((head.group_class == label).nonzero().flatten().tolist(), start=1):
            weights = head.unit_weights()[unit]
            words.append(f"Group {number}, weight for the class {head.classifier[label, unit].item():.2f}")
            words.append(f"max {float(output.groups[0, unit].log().max()):.2f}")
            images += 1
            for member in weights.argsort(descending=True).tolist()[: int((weights > 0).sum())]:
                words += [f"{float(weights[member]):.2f}", f"scale {int(head.prototypes.prototype_scale[member]) + 1}"]
                words += [f"#{member}", f"max {float(output.similarities[0, member].max()):.2f}"]
                images += 1 + (network.sources[member] is not None)
        path = folder / f"groups-{stem}.svg"
        shown = texts(path)
        assert f"{sample.name}: labeled pixels outlined" in shown
        assert short_name(toy.HOSTILE[label]) in shown
        assert [text for text in shown if text in set(words)] == words
        assert len(list(ElementTree.parse(path).iter(f"{SVG}image"))) == images
        assert shown.count("patch") == sum(word == "#0" for word in words)


@pytest.mark.usefixtures("coarse")
def test_without_groups_there_is_a_row_per_scale(tmp_path: Path) -> None:
    network = toy.network(grouped=False)
    write_figures(network, DATA, tmp_path)
    assert isinstance(network.head, PrototypeHead)
    layer, shown = network.head.prototypes, texts(tmp_path / "groups-plain.svg")
    words = []
    for scale in range(3):
        mine = ((layer.prototype_class == 3) & (layer.prototype_scale == scale)).nonzero().flatten().tolist()
        weights = {index: network.head.classifier[3, index].item() for index in mine}
        words.append(f"scale {scale + 1} (dilation {scale + 1})")
        for index in sorted(mine, key=lambda index: -weights[index]):
            words += [f"{weights[index]:.2f}", f"#{index}"]
    start = next(place for place, text in enumerate(shown) if text == words[0])
    assert [text for text in shown[start:] if text in set(words)][: len(words)] == words
    assert not any("roup" in text for text in shown)


def test_the_same_model_gives_the_same_bytes_whatever_the_users_settings(folder: Path, tmp_path: Path) -> None:
    with matplotlib.rc_context({"font.size": 20, "svg.fonttype": "path", "text.parse_math": True}):
        before = dict(matplotlib.rcParams)
        write_figures(toy.network(), DATA, tmp_path)
        assert dict(matplotlib.rcParams) == before
    assert files(tmp_path) == files(folder)


@pytest.mark.usefixtures("coarse")
def test_hostile_class_names_are_shown_and_give_safe_file_names(tmp_path: Path) -> None:
    write_figures(renamed(toy.network()), Named(DATA.samples, NAMES), tmp_path / "figures")
    assert [path.name for path in tmp_path.iterdir()] == ["figures"]
    names = files(tmp_path / "figures")
    assert {"groups-a-b-x-2.svg", "groups-A-b-x-2-2.svg", "groups-文.svg"} < set(names) and len(names) == 12
    shown = texts(tmp_path / "figures" / "scales.svg")
    assert {"a/b: $x^2$", "A.b - $x^2$", "../../文", "nul\ufffd\ufffdline " + "x" * 17 + "…"} < set(shown)
    assert "a/b: $x^2$" in texts(tmp_path / "figures" / "groups-a-b-x-2.svg")


def test_file_names_differ_on_every_system_and_are_short() -> None:
    names = [
        "",
        "...",
        "car",
        "Car",
        "car-2",
        "ﬁ",
        "fi",
        "\ud800",
        "x" * 400,
        "x" * 399,
        "é",
        "e\u0301",
        "a\0b",
        "文" * 400,
    ]
    stems = file_stems(names)
    assert len({stem.casefold() for stem in stems}) == len(names)
    assert stems[:5] == ["class", "class-2", "car", "Car-2", "car-2-2"]
    for stem in stems:
        assert stem.replace("-", "").isalnum() and len(stem.encode()) < 150


def test_a_class_is_drawn_on_the_image_with_most_of_its_pixels() -> None:
    masks = np.full((3, 70, 92), 3, np.uint8)
    masks[0, :2], masks[1, :4], masks[2, 1:5] = 1, 1, 1
    samples = [replace(toy.sample(str(index)), mask=mask) for index, mask in enumerate(masks)]
    dataset = Named(samples)
    assert choose_images(dataset, [0, 1, 2], [0, 1, 3]) == {0: [0, 3], 1: [1]}
    assert choose_images(dataset, [2, 0], [0, 1, 3]) == {2: [0, 1], 0: [3]}
    with pytest.raises(UserError, match="has no mask; choose"):
        choose_images(Named([toy.sample(labeled=False)]), [0], [0])


@pytest.mark.usefixtures("coarse")
def test_images_chosen_by_name_are_used_even_without_the_class(tmp_path: Path) -> None:
    bare = replace(sample("bare", 3), mask=np.full(toy.SIZE[::-1], 255, np.uint8))
    write_figures(toy.network(), Named([*DATA.samples, bare]), tmp_path, ["bare"])
    assert "bare: no labeled pixel" in texts(tmp_path / "groups-plain.svg")


def test_an_unknown_image_or_a_black_box_is_an_error_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^thrid: is no image of given \(val\); choose a name such as third$"):
        write_figures(toy.network(), DATA, tmp_path / "out", ["first", "thrid"])
    with pytest.raises(UserError, match="has no prototypes"):
        write_figures(toy.network(black_box=True), DATA, tmp_path / "out")
    with pytest.raises(UserError, match="choose data with the same classes"):
        write_figures(renamed(toy.network()), DATA, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def one_row() -> Sample:
    mask = np.array([[0, 1, 2, 3] * 12], np.uint8)
    return Sample("row", toy.drawn(size=(48, 1)), mask)


def single_members() -> Network:
    """A network with groups of one prototype, or of none."""
    network = toy.network()
    assert isinstance(network.head, GroupHead)
    weights = network.head.weights.data
    weights[:] = torch.nn.functional.one_hot(weights.argmax(dim=-1), weights.shape[-1])
    weights[1, 0] = 0
    return network


def one_scale() -> Network:
    torch.manual_seed(0)
    config = NetworkConfig(
        EncoderConfig("resnet10t", stage=2), PyramidConfig((1, 2), channels=8, fuse="sum"), HeadConfig(prototypes=2)
    )
    network = Network(config, toy.table()).eval()
    assert isinstance(network.head, PrototypeHead)
    network.replace_head(GroupHead.over(network.head, 2), network.sources)
    return network


def without_sources() -> Network:
    network = toy.network()
    network.sources = [None] * len(network.sources)
    return network


def many_members() -> Network:
    network = toy.network(grouped=False)
    assert isinstance(network.head, PrototypeHead)
    network.replace_head(GroupHead.over(network.head, 1), network.sources)
    return network


@pytest.mark.parametrize(
    "network",
    [
        single_members(),
        one_scale(),
        without_sources(),
        many_members(),
        without_class(toy.network(grouped=False), 1),
    ],
    ids=["single members", "one scale", "no sources", "many members", "a class without prototypes"],
)
@pytest.mark.usefixtures("coarse")
def test_no_figure_fails(tmp_path: Path, network: Network) -> None:
    samples = [one_row(), sample("another", 1)]
    names = write_figures(network, Named(samples), tmp_path, ["row"])
    assert len(files(tmp_path)) == 2 * len(names)
    for name in names:
        assert texts(tmp_path / f"{name}.svg")


@pytest.mark.usefixtures("coarse")
def test_a_class_without_prototypes_has_an_empty_bar_and_no_groups(tmp_path: Path) -> None:
    network = without_class(toy.network(grouped=False), 3)
    fractions, counts = scale_usage(network)
    assert fractions[3].tolist() == [0, 0, 0] and counts.tolist() == [6, 6, 6, 0]
    assert write_figures(network, DATA, tmp_path) == ["overlap", "scales", *(f"groups-{stem}" for stem in STEMS[:3])]


def axes() -> Axes:
    return Figure().add_subplot()


def test_a_patch_is_drawn_at_its_position_with_its_box() -> None:
    source, where = toy.source(1, 2), axes()
    draw_patch(where, source, (0, 0, 1))
    left, top, right, bottom = source.window
    assert list(where.images[0].get_extent()) == [left, right, bottom, top]
    for box in where.patches:
        assert isinstance(box, Rectangle)
        assert (*box.get_xy(), box.get_x() + box.get_width(), box.get_y() + box.get_height()) == source.box
    np.testing.assert_array_equal(where.images[0].get_array(), np.asarray(Image.open(io.BytesIO(source.png))))


@pytest.mark.parametrize("crop", [b"", b"GIF89a", toy.source(0, 1).png[:200]])
def test_a_damaged_patch_is_an_error_of_one_line(crop: bytes) -> None:
    with pytest.raises(UserError, match=r"crop in the model folder cannot be read; copy the whole folder again$"):
        draw_patch(axes(), replace(toy.source(0, 1), png=crop), (0, 0, 1))


def test_colors_of_maps_get_lighter_with_their_values_and_stay_in_range() -> None:
    maps = [torch.linspace(0.5, 2, 300).reshape(10, 30), torch.full((2, 2), 1.0)]
    heat = Heat.of(maps)
    assert heat.low == 0.5 and 1.98 < heat.high < 2
    values: Any = np.linspace(0, 3, 50)[None]
    colors = heat.over(np.full_like(values, 0.5), values)
    assert colors.shape == (1, 50, 3) and 0 <= colors.min() <= colors.max() <= 1
    assert (np.diff(colors.sum(axis=2)[0, 10:33]) > 0).all()
    flat = Heat.of([torch.ones(2, 3)])
    assert flat.low < flat.high


def test_characters_without_a_glyph_do_not_warn(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    with paper_style():
        figure = Figure()
        figure.text(0.5, 0.5, "文字")
        save(figure, tmp_path, "glyphs")
    assert texts(tmp_path / "glyphs.svg") == ["文字"] and not recwarn.list
