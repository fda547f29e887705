"""The trainings: who learns and who stays, what falls, and that one that was stopped ends like one that was not."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from config.errors import TrainingError
from inference import networks
from inference.encoders.boneprint import load
from inference.encoders.bundle import Bundle
from inference.networks.boneprint_sides import SIDES
from tests.boneprint.tiny import SETTINGS, SIZE, explicit, implicit, pair, quiet, silent, single
from training.boneprint.augment import PairAugmenter
from training.boneprint.explicit import Fusing, Translating
from training.boneprint.export import encoded, opened
from training.boneprint.implicit import Denoising
from training.boneprint.losses import PairContrast, discrepancy, judged_real, pooled
from training.boneprint.recipe import PairAugment, Recipe
from training.boneprint.run import Hardware, persons_of, train
from training.boneprint.searching import OTHER
from training.manifests.files import read_manifest
from training.manifests.images import load_row

CPU = Hardware(accelerator="cpu")


class StoppedError(Exception):
    """Somebody pulled the plug."""


def batch(count: int = 6) -> dict[str, Tensor]:
    pictures = [pair(number) for number in range(count)]
    return {
        "radiograph": torch.stack([torch.from_numpy(one).expand(3, -1, -1) for one, _ in pictures]),
        "rendering": torch.stack([torch.from_numpy(one.transpose(2, 0, 1).copy()) for _, one in pictures]),
        "place": torch.arange(count),
        "seed": torch.arange(count) + 100,
    }


def network(name: str = "boneprint-explicit") -> Any:
    torch.manual_seed(0)
    return networks.build(name, SETTINGS[name])


def unlogged(learner: Any) -> Any:
    """The learner without a trainer to log to."""
    learner.log = lambda *_, **__: None
    return learner


@pytest.mark.parametrize("positives", ["translated", "half-translated", "augmented", "served"])
def test_fusion_learns_and_translators_stay(manifest: Path, positives: str) -> None:
    learner = unlogged(Fusing(explicit(manifest, contrast={"positives": positives}), network()))
    learner.training_step(batch(), 0).backward()
    own = learner.network
    for frozen in (own.to_rendering, own.to_radiograph):
        assert all(parameter.grad is None for parameter in frozen.parameters())
    for learning in (own.radiograph, own.rendering, own.fusion, learner.decoders):
        assert all(bool(parameter.grad.abs().sum() > 0) for parameter in learning.parameters() if parameter.ndim > 1)


def test_what_has_no_weight_does_not_learn(manifest: Path) -> None:
    drawing = unlogged(Fusing(explicit(manifest, contrast={"contrast": 0.0}), network()))
    drawing.training_step(batch(), 0).backward()
    assert all(parameter.grad is None for parameter in drawing.network.fusion.parameters())
    telling = Fusing(explicit(manifest, contrast={"reconstruction": 0.0}), network())
    assert not list(telling.decoders.parameters())
    with pytest.raises(TrainingError, match="weight"):
        explicit(manifest, contrast={"contrast": 0.0, "reconstruction": 0.0})


def test_positives_are_what_the_recipe_says(manifest: Path) -> None:
    own = network()
    seen = {side: own.grey(batch()[side].float() / 255) for side in SIDES}
    with torch.no_grad():
        drawn = {OTHER[side]: own.translated(seen[side], side) for side in SIDES}
    real = (seen["radiograph"], seen["rendering"])
    expected = {
        "translated": (real, (drawn["radiograph"], drawn["rendering"])),
        "half-translated": (real, (seen["radiograph"], drawn["rendering"])),
        "served": ((drawn["radiograph"], seen["rendering"]), (seen["radiograph"], drawn["rendering"])),
    }
    for positives, wanted in expected.items():
        learner = Fusing(explicit(manifest, contrast={"positives": positives}), own)
        found = learner._pairs(seen, batch())
        for number, side in enumerate(SIDES):
            assert torch.equal(found[side], torch.cat([wanted[0][number], wanted[1][number]])), positives


def test_served_positives_are_what_is_compared_when_it_serves(manifest: Path) -> None:
    own = network().eval()
    seen = {side: own.grey(batch()[side].float() / 255) for side in SIDES}
    pairs = Fusing(explicit(manifest, contrast={"positives": "served"}), own)._pairs(seen, batch())
    renderings, radiographs = own.fused(pairs["radiograph"], pairs["rendering"]).chunk(2)
    assert torch.allclose(renderings, own.embed(seen["rendering"], "rendering"), atol=1e-5)
    assert torch.allclose(radiographs, own.embed(seen["radiograph"], "radiograph"), atol=1e-5)


@pytest.mark.parametrize("features", ["clean", "noisy"])
def test_noise_and_contrast_reach_the_whole_unet(manifest: Path, features: str) -> None:
    learner = unlogged(Denoising(implicit(manifest, diffusion={"features": features}), network("boneprint-implicit")))
    with torch.no_grad():
        # Blocks begin as nothing, and pass no gradient to what lies before them in their first step.
        for parameter in learner.network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    learner.on_train_batch_start(batch(), 0)
    learner.training_step(batch(), 0).backward()
    silent_ones = [name for name, one in learner.network.named_parameters() if one.grad is None]
    assert not silent_ones


def test_latents_grow_alike_while_translators_learn(manifest: Path) -> None:
    recipe = explicit(manifest, translation={"pixel": 0.0, "adversary": 0.0, "optimiser": {"learning_rate": 1e-2}})
    learner = unlogged(Translating(recipe, network()))
    optimiser = torch.optim.Adam(learner.translators.parameters(), 3e-3)
    greys = {side: learner._grey(batch(8)[side].float() / 255) for side in SIDES}
    found = []
    for _ in range(12):
        latents = [pooled(learner.translator(to).latent(greys[OTHER[to]])) for to in SIDES]
        loss = discrepancy(*latents)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        found.append(loss.item())
    assert found[-1] < 0.7 * found[0]


def test_a_discrepancy_is_none_between_a_set_and_itself() -> None:
    torch.manual_seed(0)
    near, far = torch.randn(16, 6), torch.randn(16, 6) + 2
    assert float(discrepancy(near, near.clone())) == pytest.approx(0, abs=1e-6)
    assert float(discrepancy(near, far)) > 4 * float(discrepancy(near, torch.randn(16, 6)))


def test_contrast_is_least_where_everybody_is_nearest_to_his_own() -> None:
    torch.manual_seed(0)
    loss, ones = PairContrast(0.1), torch.randn(8, 16)
    assert float(loss(ones, ones + 0.01)) < 0.1 < float(loss(ones, ones.roll(1, 0)))
    assert float(judged_real(torch.ones(2, 1, 3, 3), True)) == 0
    assert float(judged_real(torch.ones(2, 1, 3, 3), False)) == 1


def test_an_adversary_judges_what_it_is_shown_and_both_sides_learn(manifest: Path) -> None:
    recipe = explicit(manifest)
    before = {name: one.clone() for name, one in Translating(recipe, network()).state_dict().items()}
    folder = manifest.parent.parent / "translating"
    train(recipe, folder, hardware=CPU, tell=quiet, say=silent)
    (saved,) = (folder / "translators").glob("*/last.ckpt")
    after = torch.load(saved, weights_only=True)["state_dict"]
    for part in ("translators.radiograph", "translators.rendering", "adversaries.radiograph", "adversaries.rendering"):
        assert any(not torch.equal(before[name], after[name]) for name in before if name.startswith(part)), part


def _stopping(stage: str, step: int) -> Callable[[str, int, int], None]:
    def tell(found: str, done: int, total: int) -> None:
        if (found, done) == (stage, step):
            raise StoppedError

    return tell


@pytest.mark.parametrize("kind", ["explicit", "implicit"])
def test_stopped_anywhere_it_ends_with_the_same_weights(tmp_path: Path, manifest: Path, kind: str) -> None:
    recipe: Recipe = explicit(manifest) if kind == "explicit" else implicit(manifest)
    whole = train(recipe, tmp_path / "whole", hardware=CPU, tell=quiet, say=silent)
    stops = [(recipe.name, 2), (recipe.name, 3)]
    if kind == "explicit":
        stops = [("translators", 2), ("translators", 3), *stops]
    for stage, step in stops:
        with pytest.raises(StoppedError):
            train(recipe, tmp_path / "cut", hardware=CPU, tell=_stopping(stage, step), say=silent)
    cut = train(recipe, tmp_path / "cut", hardware=CPU, tell=quiet, say=silent)

    states = [safetensors.torch.load_file(bundle / "weights.safetensors") for bundle in (whole, cut)]
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name
    runs = sorted((tmp_path / "cut" / "runs" / recipe.name / "logs").iterdir())
    with (runs[-1] / "metrics.csv").open(newline="") as file:
        assert min(int(row["step"]) for row in csv.DictReader(file)) >= 1, "steps were taken again"


def test_a_bundle_is_what_was_trained_and_says_so(tmp_path: Path, manifest: Path) -> None:
    recipe = implicit(manifest, export={"weights": "float16"})
    bundle = train(recipe, tmp_path, hardware=CPU, tell=quiet, say=silent)
    said = Bundle.read(bundle).manifest
    assert (said.name, said.network, said.dimension) == ("tiny-implicit", "boneprint", 16)
    assert said.model is not None
    assert said.model.settings["draws"] is False
    assert said.input == recipe.input_spec().to_mapping()
    assert str(tmp_path) not in (bundle / "bundle.toml").read_text()
    figures = said.metrics["validation, queries are renderings"]
    assert figures["bank"] == said.training["validation_persons"] == 8
    value, low, high = figures["rank-1"]
    assert low <= value <= high
    assert figures["chance-1"] == pytest.approx(1 / 8)

    network = opened(bundle)
    persons = persons_of(recipe, tmp_path, 1, quiet)
    best = torch.load(tmp_path / "runs" / "tiny-implicit" / "best.ckpt", weights_only=True)["state_dict"]
    trained: Any = networks.build("boneprint-implicit", recipe.network.settings)
    trained.load_state_dict({key.removeprefix("network."): one for key, one in best.items() if "network." in key})
    pictures = torch.stack(
        [torch.from_numpy(persons.store.pictures(int(one), "rendering").copy()) for one in persons.held_out]
    )
    with torch.no_grad():
        expected = trained.eval().encode(pictures.float() / 255, "rendering")
    found = torch.from_numpy(encoded(network, persons.store, persons.held_out.tolist(), "rendering"))
    assert torch.allclose(found, expected, atol=0.02)
    masked = encoded(network, persons.store, persons.held_out.tolist(), "rendering", hide=0.15)
    assert not torch.allclose(torch.from_numpy(masked), found, atol=1e-3)

    # The same images through the encoder that serves.
    encoder = load(Bundle.read(bundle), "cpu", 4)
    rows = {(row.patient_id, row.modality): row for row in read_manifest(manifest).rows()}
    for place, vector in zip(persons.held_out[:2], found, strict=False):
        row = rows[persons.store.people[int(place)].person.removeprefix("|"), "CT-VR"]
        image = load_row(read_manifest(manifest), replace(row, modality="XC")).images[0]
        (encoding,) = encoder.encode([replace(image, modality="CT", view="")])
        assert encoding is not None
        assert float(torch.from_numpy(encoding.vector) @ torch.nn.functional.normalize(vector, dim=0)) > 0.999

    again = train(recipe, tmp_path, hardware=CPU, tell=_stopping("tiny-implicit", 1), say=silent)
    assert again == bundle, "what has ended is not trained again"
    with pytest.raises(TrainingError) as caught:
        train(implicit(manifest, seed=6), tmp_path, hardware=CPU, tell=quiet, say=silent)
    assert caught.value.reason == "RECIPE_CHANGED"


@pytest.mark.parametrize(("seen", "loss"), [("both", "triplet"), ("rendering", "arcface")])
def test_baselines_are_trained_the_same_way(tmp_path: Path, manifest: Path, seen: str, loss: str) -> None:
    recipe = single(manifest, seen, loss)
    bundle = train(recipe, tmp_path, hardware=CPU, tell=quiet, say=silent)
    own: Any = opened(bundle)
    translated = sorted((tmp_path / "translators").glob("*/translators.safetensors"))
    assert len(translated) == (seen != "both")
    if translated:
        state = safetensors.torch.load_file(translated[0])
        for name, value in own.translator.state_dict().items():
            assert torch.equal(value, state[f"to_rendering.{name}"]), "frozen, and of the right direction"


def test_both_pictures_of_a_pair_can_be_moved_alike() -> None:
    augment = PairAugmenter(PairAugment(rotation=20, turned=1.0, inversion=0.0, contrast=0.5), SIZE)
    one = batch()["rendering"]
    seeds = torch.arange(6)
    assert torch.equal(augment.moved(one, seeds), augment.moved(one, seeds))
    assert not torch.allclose(augment.moved(one, seeds), one.float() / 255, atol=0.05)
    straight = PairAugmenter(PairAugment(rotation=20, turned=0.0), SIZE)
    assert torch.allclose(straight.moved(one, seeds), one.float() / 255, atol=1e-3)
    inverting = PairAugmenter(PairAugment(inversion=1.0, turned=0.0), SIZE)
    assert torch.allclose(inverting(one, seeds), 1 - one.float() / 255, atol=2e-3)
