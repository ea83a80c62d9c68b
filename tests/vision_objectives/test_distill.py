"""Distillation: the teacher is what its library says and stays as it is; its student learns what it makes of images."""

from __future__ import annotations

import json
import math

import pytest
import timm
import torch
from finetuning import write_photos

from zoo.cli.main import run
from zoo.data.draws import HashDraws
from zoo.objectives import COUNT
from zoo.weights import load_backbone
from zoo_registry.errors import UsageError
from zoo_registry.specs import InputSpec, ModelSpec
from zoo_vision.objectives.distill import DistillOptions, DistillTask, DistillView, divergence
from zoo_vision.objectives.teacher import Teacher, _Classifier, load_teacher
from zoo_vision.pipeline import ImagePipeline
from zoo_vision.timm_backbone import build_timm

STUDENT = InputSpec(modality="image", size=(3, 32, 32), mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))
OWN = InputSpec(modality="image", size=(3, 32, 32), mean=(0.1, 0.2, 0.6), std=(0.5, 0.3, 0.4))


DISTILL = ["pretrain", "test_resnet", "--objective", "distill", "--size", "32", "--device", "cpu"]


def network(input: InputSpec = STUDENT, seed: int = 0):
    torch.manual_seed(seed)
    spec = ModelSpec(name="test_resnet", builder="a:b", pipeline="a:b", input=input)
    return build_timm(spec, input)


def task(classes: int = 7, **options) -> DistillTask:
    backbone = network(OWN, seed=1)
    classifier = _Classifier(torch.randn(classes, backbone.dim), torch.randn(classes)) if classes else None
    teacher = Teacher(backbone, classifier, classes, STUDENT, 0)
    return DistillTask(network(), teacher, DistillOptions(teacher="toy", **options))


def images(count: int = 6) -> torch.Tensor:
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(5))


def test_the_teacher_sees_pixels_in_its_own_normalisation():
    made = task()
    pixels = images()
    mean, std = (torch.tensor(values)[:, None, None] for values in (STUDENT.mean, STUDENT.std))
    own_mean, own_std = (torch.tensor(values)[:, None, None] for values in (OWN.mean, OWN.std))
    features, logits = made.teacher((pixels - mean) / std)
    expected = made.teacher.backbone({"image": (pixels - own_mean) / own_std}).pooled
    torch.testing.assert_close(features.pooled, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(logits, made.teacher.classifier.linear(expected), rtol=1e-4, atol=1e-4)


def test_a_published_classifier_gives_the_librarys_logits():
    input = load_backbone("efficientnet_lite0", size=64).input
    teacher = load_teacher("efficientnet_lite0", input)
    whole = timm.create_model("tf_efficientnet_lite0", num_classes=1000).eval()
    state = {f"{name}": tensor for name, tensor in teacher.backbone.module.state_dict().items()}
    linear = teacher.classifier.linear.state_dict()
    whole.load_state_dict({**state, **{f"classifier.{name}": tensor for name, tensor in linear.items()}})
    image = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    features, logits = teacher(image)
    assert features.pooled.shape == (2, 1280)
    torch.testing.assert_close(logits, whole(image), rtol=1e-4, atol=1e-4)
    # A trained classifier is sure of something where a random one is not.
    assert logits.std() > 0.5


def test_the_loss_is_that_of_a_loop_over_images_and_classes():
    made = task(classes=5, temperature=3.0, logit=0.7, feature=2.0, layers=0.3).eval().requires_grad_(False)
    for match in (made.pooled, *made.maps.values()):
        torch.nn.init.normal_(match.linear.weight, std=0.1)
    batch = {"image": images(4)}
    made.fit_data([{"image": images(6)}])
    loss, count, _, sums = made(batch)
    features, target = made.teacher(batch["image"], layers=True)
    student = made.backbone(batch, ("pooled", "layers"))
    wanted, pooled = features.pooled, made.pooled
    guess = pooled.linear(student.pooled)
    logits = made.teacher.classifier.linear(guess * pooled.std + pooled.mean)
    assert len(made.maps) > 2
    expected = 0.0
    for i in range(4):
        for places, match in made.maps.items():
            theirs = [one for one in features.layers if one.shape[1] == int(places)][-1]
            ours = [one for one in student.layers if one.shape[1] == int(places)][-1]
            errors = []
            for n in range(int(places)):
                difference = match.linear(ours[i, n]) - (theirs[i, n] - match.mean) / match.std
                errors.append(float(difference.square().mean()))
            expected += 0.3 * sum(errors) / len(errors) / len(made.maps)
        squared = [(guess[i, e] - (wanted[i, e] - pooled.mean[e]) / pooled.std[e]) ** 2 for e in range(len(wanted[i]))]
        soft = [math.exp(float(v) / 3) for v in target[i]]
        mine = [math.exp(float(v) / 3) for v in logits[i]]
        kl = sum(s / sum(soft) * math.log((s / sum(soft)) / (m / sum(mine))) for s, m in zip(soft, mine, strict=True))
        expected += 2.0 * float(sum(squared)) / len(squared) + 0.7 * 9 * kl
    assert float(loss) == pytest.approx(expected, rel=1e-4)
    assert float(count) == float(sums[:, COUNT].sum()) == 4


def test_a_student_learns_what_its_teacher_makes_of_a_batch():
    made = task().train()
    batch = {"image": images(8)}
    made.fit_data([batch])
    optimizer = torch.optim.AdamW([p for p in made.parameters() if p.requires_grad], lr=3e-3)
    sums = []
    for _ in range(40):
        optimizer.zero_grad()
        loss, count, _, found = made(batch)
        (loss / count).backward()
        optimizer.step()
        sums.append(found.mean(0))
    assert float(sums[0][3]) < 1.01  # it starts with the mean
    assert float(sums[-1][3]) < 0.3 * float(sums[0][3])
    assert float(sums[-1][0]) < 0.3 * float(sums[0][0])


def test_equal_logits_do_not_diverge():
    logits = torch.randn(3, 9)
    assert divergence(logits, logits + 4.0, 2.0).abs().max() < 1e-5


def test_the_teacher_never_changes():
    made = task()
    before = {name: tensor.clone() for name, tensor in made.teacher.state_dict().items()}
    made.train()
    optimizer = torch.optim.SGD([p for p in made.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        made({"image": images()})[0].backward()
        optimizer.step()
    assert not any(module.training for module in made.teacher.modules())
    for name, tensor in made.teacher.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    grouped = {name for _, members in made.layer_groups() for name, _ in members}
    assert grouped == {name for name, parameter in made.named_parameters() if parameter.requires_grad}
    assert not any(name.startswith("teacher.") for name in grouped)


def test_features_are_standardised_by_the_training_data():
    made = task()
    batches = [{"image": images(6)}, {"image": images(3) * 0.5}]
    made.fit_data(batches)
    features = torch.cat([made.teacher(batch["image"])[0].pooled for batch in batches])
    mean, std = made.pooled.mean, made.pooled.std
    torch.testing.assert_close(mean, features.mean(0))
    assert (std >= 0.1 * features.std(0, correction=0).mean() * 0.999).all()
    spread = features.std(0, correction=0)
    torch.testing.assert_close(std[spread > 0.2 * spread.mean()], spread[spread > 0.2 * spread.mean()])
    assert all(not torch.equal(match.std, torch.ones_like(match.std)) for match in made.maps.values())


def test_maps_are_matched_where_both_have_them(capsys, monkeypatch):
    assert len(task().maps) > 2
    assert len(task(layers=0.0).maps) == 0
    assert capsys.readouterr().err == ""
    monkeypatch.delattr(timm.models.resnet.ResNet, "forward_intermediates")
    assert len(task().maps) == 0
    assert "no maps of the same scale" in capsys.readouterr().err


def test_mixtures_are_of_neighbours_and_draws_alone_decide():
    pipeline = ImagePipeline(STUDENT)
    canvas = torch.randint(0, 256, (4, *pipeline.shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    batch = {"image": canvas, "index": torch.arange(4)}
    plain = DistillView(pipeline, 0, DistillOptions(teacher="toy", mixup=0.0))
    mixing = DistillView(pipeline, 0, DistillOptions(teacher="toy", mixup=0.5))
    draws = HashDraws(3, 1, batch["index"])
    alone, mixed = plain.augment(batch, draws)["image"], mixing.augment(batch, draws)["image"]
    assert torch.equal(mixed, mixing.augment(batch, HashDraws(3, 1, batch["index"]))["image"])
    for i in range(4):
        own, other = alone[i] - alone[i - 1], mixed[i] - alone[i - 1]
        share = float((own * other).sum() / own.square().sum())
        assert 0 <= share <= 1
        torch.testing.assert_close(mixed[i], torch.lerp(alone[i - 1], alone[i], share), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": 0.0},
        {"logit": 0.0, "feature": 0.0, "layers": 0.0},
        {"logit": -1.0},
        {"mixup": -0.1},
        {"crop": 0.0},
    ],
)
def test_settings_that_mean_nothing(wrong):
    with pytest.raises(UsageError):
        DistillOptions(teacher="toy", **wrong)


def test_a_run_hands_over_and_teaches_in_turn(tmp_path, capsys):
    data = write_photos(tmp_path / "photos", train=16, val=8)
    start = [*DISTILL, "--data", str(data)]
    teacher = ["-O", "teacher=efficientnet_lite0"]
    assert run([*start, *teacher, "--epochs", "2", "--batch-size", "8", "--json", "-o", str(tmp_path / "run")]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert set(answer["metrics"]) == {"loss", "feature_error", "layers_error", "agreement"}
    # The run is itself a teacher of features, without a classifier.
    again = ["-O", f"teacher={tmp_path / 'run'}"]
    assert run([*start, *again, "--epochs", "1", "-O", "feature=0", "-O", "layers=0", "-o", str(tmp_path / "a")]) == 2
    assert "gives no logits" in capsys.readouterr().err
    assert run([*start, *again, "--epochs", "1", "-o", str(tmp_path / "b")]) == 0
    tuned = ["finetune", str(tmp_path / "run"), "--data", str(data), "--epochs", "1", "-o", str(tmp_path / "tuned")]
    assert run(tuned) == 0
    # What was finetuned has a classifier, so it teaches logits too.
    taught = ["-O", f"teacher={tmp_path / 'tuned'}", "--epochs", "1", "--json", "-o", str(tmp_path / "c")]
    capsys.readouterr()
    assert run([*start, *taught]) == 0
    assert "agreement" in json.loads(capsys.readouterr().out)["metrics"]


@pytest.mark.parametrize(
    ("options", "message", "code"),
    [
        ([], "needs a teacher", 2),
        (["-O", "teacher=all-minilm-l6-v2"], "takes text", 2),
        (["-O", "teacher=efficientnet_lite9"], "efficientnet_lite0", 3),
    ],
    ids=["no teacher", "a text model", "no such model"],
)
def test_what_cannot_teach(options, message, code, tmp_path, capsys):
    data = write_photos(tmp_path / "photos", train=4, val=2)
    start = [*DISTILL, "--data", str(data)]
    assert run([*start, *options, "-o", str(tmp_path / "run")]) == code
    assert message in capsys.readouterr().err
