"""Tasks: every one has its loss, its metrics in the right units, and refuses what does not fit it."""

import math
import re
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from sklearn import metrics
from torch.nn import functional as F

import nas
from nas.datasets import Batch, TensorSplit, load_dataset, standardised
from nas.evaluation import Evaluator
from nas.experiment import Training
from nas.modality import ModalitySpec, Task
from nas.network import build
from nas.objectives import Context
from nas.registry import create
from nas.search.setup import prepare
from nas.space import Architecture
from nas.training.criterion import Criterion, balanced_weights

CLASSES = Task("classification", ("a", "b", "c", "d"))
LABELS = Task("multilabel", ("x", "y", "z"))
TARGETS = Task("regression", ("price", "age"))
RANDOM = np.random.default_rng(0)
SCORES = RANDOM.normal(size=(80, 4))
TRUTH = RANDOM.integers(3, size=80)  # no sample is of the class d
SEVERAL = RANDOM.normal(size=(80, 3))
MARKS = (RANDOM.random((80, 3)) < 0.4).astype(int)
NUMBERS, PREDICTED = 50 + 9 * RANDOM.normal(size=(80, 2)), 50 + 9 * RANDOM.normal(size=(80, 2))

TABLE = '''\
import torch
import nas
from nas.datasets import TensorSplit


@nas.register("dataset", "table")
class Table:
    """Two vectors, and a number or two labels that follow from both."""

    def __init__(self, task: str = "regression", modalities: int = 2) -> None:
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(160, 2, 4, generator=generator)
        names = ("left", "right")[:modalities]
        self.modalities = {name: nas.ModalitySpec("vector", (4,)) for name in names}
        total = x.sum((1, 2))
        if task == "regression":
            self.task, labels = nas.Task(task, ("total",)), 1000 + 50 * total
        else:
            self.task, labels = nas.Task(task, ("high", "low")), torch.stack([total > 0, total < 1], 1).long()
        parts = torch.arange(160).split([96, 32, 32])
        self.splits = {
            name: TensorSplit({m: x[part, i] for i, m in enumerate(names)}, labels[part])
            for name, part in zip(("train", "validation", "test"), parts)
        }
'''


def measure(name, outputs, labels, task):
    outputs, labels = (torch.from_numpy(np.asarray(values)) for values in (outputs, labels))
    sample = Batch({}, torch.zeros(1))
    return create("objective", name)(Context(None, {}, task, sample, outputs, labels))


def softmax(scores):
    return np.exp(scores) / np.exp(scores).sum(1, keepdims=True)


def one_vs_rest(figure):
    return np.mean([figure(c == TRUTH, softmax(SCORES)[:, c]) for c in range(3)])


EXPECTED = {
    "accuracy": metrics.accuracy_score(TRUTH, SCORES.argmax(1)),
    "balanced_accuracy": np.mean([(SCORES.argmax(1) == c)[c == TRUTH].mean() for c in range(3)]),
    "macro_f1": metrics.f1_score(TRUTH, SCORES.argmax(1), average="macro"),
    "weighted_f1": metrics.f1_score(TRUTH, SCORES.argmax(1), average="weighted"),
    "auroc": one_vs_rest(metrics.roc_auc_score),
    "average_precision": one_vs_rest(metrics.average_precision_score),
}
MARKED = SEVERAL > 0
OF_LABELS = {
    "multilabel_accuracy": (MARKED == MARKS).mean(),
    "exact_match": (MARKED == MARKS).all(1).mean(),
    "macro_f1": metrics.f1_score(MARKS, MARKED, average="macro"),
    "weighted_f1": metrics.f1_score(MARKS, MARKED, average="weighted"),
    "auroc": metrics.roc_auc_score(MARKS, SEVERAL),
    "average_precision": metrics.average_precision_score(MARKS, SEVERAL),
}
OF_TARGETS = {
    "mae": np.abs(PREDICTED - NUMBERS).mean(),
    "rmse": ((PREDICTED - NUMBERS) ** 2).mean() ** 0.5,
    "r2": metrics.r2_score(NUMBERS, PREDICTED),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_metric_of_classes_is_that_of_scikit_learn(name):
    assert measure(name, SCORES, TRUTH, CLASSES) == pytest.approx(EXPECTED[name], abs=1e-6)


@pytest.mark.parametrize("name", OF_LABELS)
def test_a_metric_of_labels_is_that_of_scikit_learn(name):
    assert measure(name, SEVERAL, MARKS, LABELS) == pytest.approx(OF_LABELS[name], abs=1e-6)


@pytest.mark.parametrize("name", OF_TARGETS)
def test_a_metric_of_targets_is_that_of_scikit_learn(name):
    assert measure(name, PREDICTED, NUMBERS, TARGETS) == pytest.approx(OF_TARGETS[name], rel=1e-5)


def test_outputs_between_0_and_1_are_taken_for_what_they_are():
    """Logits all within 0 … 1 are no probabilities: all of these labels are predicted."""
    outputs, marks = np.full((6, 3), 0.2), np.ones((6, 3), int)
    assert measure("multilabel_accuracy", outputs, marks, LABELS) == 1


@pytest.mark.parametrize("name", [*EXPECTED, "mae", "r2"])
def test_an_output_that_is_not_a_number_makes_a_metric_none(name):
    scores = SCORES.copy()
    scores[3, 1] = math.nan
    assert math.isnan(measure(name, scores, TRUTH, CLASSES))


@pytest.mark.parametrize(
    ("name", "labels", "task", "defined"),
    [
        ("r2", [[5.0, 5.0]], TARGETS, False),
        ("r2", [[5.0, 5.0], [6.0, 4.0]], TARGETS, True),
        ("mae", [[5.0, 5.0]], TARGETS, True),
        ("auroc", [1, 1, 1], CLASSES, False),
        ("average_precision", [1, 1, 2], CLASSES, True),
        ("auroc", [[1, 0, 0], [1, 0, 0]], LABELS, False),
        ("macro_f1", [1], CLASSES, True),
    ],
)
def test_a_metric_says_whether_some_labels_have_such_a_figure_at_all(name, labels, task, defined):
    assert create("objective", name).is_defined(torch.tensor(labels), task) == defined
    outputs = torch.rand(len(labels), task.out_dim)
    assert math.isnan(measure(name, outputs.numpy(), np.array(labels), task)) != defined


def test_one_target_may_come_without_an_axis_of_its_own():
    one = Task("regression", ("price",))
    assert measure("mae", PREDICTED[:, :1], NUMBERS[:, 0], one) == pytest.approx(
        np.abs(PREDICTED[:, 0] - NUMBERS[:, 0]).mean(), rel=1e-5
    )


# Losses


def test_the_loss_of_a_regression_is_in_units_of_the_deviations():
    task = Task("regression", ("price", "age"), (10.0, 20.0), (2.0, 4.0))
    outputs, labels = torch.tensor([[12.0, 20.0]]), torch.tensor([[10.0, 28.0]])
    assert Criterion(task)(outputs, labels).item() == pytest.approx((1 + 4) / 2)


def test_smoothing_a_label_draws_it_towards_a_half():
    outputs, marks = torch.tensor([[2.0, -1.0, 0.5]]), torch.tensor([[1, 0, 1]])
    expected = F.binary_cross_entropy_with_logits(outputs, torch.tensor([[0.9, 0.1, 0.9]]))
    assert Criterion(LABELS, 0.2)(outputs, marks).item() == pytest.approx(expected.item())


def test_balanced_weights_let_every_class_and_both_values_of_a_label_count_alike():
    labels = torch.tensor([0, 0, 0, 0, 0, 0, 1, 1, 2])
    weights = balanced_weights(Task("classification", ("a", "b", "c")), labels)
    totals = [weights[c].item() * (labels == c).sum().item() for c in range(3)]
    assert totals == pytest.approx([3, 3, 3])
    marks = torch.tensor([[1, 0], [1, 0], [1, 1], [0, 0]])
    ones = balanced_weights(Task("multilabel", ("x", "y")), marks) * marks.sum(0)
    assert ones.tolist() == pytest.approx((1 - marks).sum(0).tolist())


def test_balanced_weights_lead_a_network_to_the_rare_class():
    x = torch.zeros(100, 4)
    labels = (torch.arange(100) < 10).long()
    split = TensorSplit({"x": x}, labels)
    task, modalities = Task("classification", ("common", "rare")), {"x": ModalitySpec("vector", (4,))}
    tree = {"dim": 4, "encoders": {"x": {"mlp": {}}}, "head": {"linear": {}}}

    def probability(weights):
        network = build(tree, modalities, task)
        settings = Training(epochs=60, batch_size=100, learning_rate=0.05, class_weights=weights)
        return nas.training.train(network, split, split, settings, 0).outputs.softmax(1)[0, 1].item()

    assert probability("none") == pytest.approx(0.1, abs=0.03)
    assert probability("balanced") == pytest.approx(0.5, abs=0.05)


def test_targets_are_standardised_by_the_training_split_alone():
    task = standardised(TARGETS, TensorSplit({}, torch.tensor([[1.0, 7.0], [3.0, 7.0]])))
    assert task.center == (2.0, 7.0)
    assert task.scale == (1.0, 1.0)  # what never varies is not divided by nothing
    assert Task.from_data(task.to_data()) == task


@pytest.mark.parametrize(
    "make",
    [
        lambda: Task("regresion", ("y",)),
        lambda: Task("classification", ("a", "b"), (1.0, 2.0), (1.0, 1.0)),
        lambda: Task("regression", ("a", "b"), (1.0,), (1.0,)),
    ],
)
def test_a_task_that_cannot_be_is_refused(make):
    with pytest.raises(ValueError, match=r"did you mean 'regression'|has \d values for 2"):
        make()


# Searches


@pytest.fixture
def table(write_experiment, tmp_path):
    (tmp_path / "table.py").write_text(TABLE)

    def write(task="regression", modalities=2, **sections):
        space = {"present": "all", "dim": 16, "connector": "none", "fusion": "concat", "head": "linear"}
        defaults = {"data": {"table": {"task": task, "modalities": modalities}}, "plugins": ["table.py"]}
        return write_experiment(**(defaults | {"space": space, "training": {"batch_size": 16}} | sections))

    return write


@pytest.mark.parametrize(
    ("task", "first"),
    [("regression", "r2"), ("multilabel", "average_precision"), ("classification", "accuracy")],
)
def test_the_default_objectives_fit_the_task_and_are_written_out(table, write_experiment, task, first):
    file = write_experiment() if task == "classification" else table(task)
    written = prepare(file, []).experiment.to_data()["objectives"]
    assert written == {first: "maximize", "parameters": "minimize"}


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            {"objectives": {"accuracy": "maximize"}},
            "objectives.accuracy: accuracy is for classification, and the task of the data is regression; ",
        ),
        ({"objectives": {"mea": "minimize"}}, "'mea' is not an objective; did you mean 'mae'"),
        ({"training": {"label_smoothing": 0.1}}, "training.label_smoothing: label_smoothing is for classif"),
        ({"training": {"class_weights": "balanced"}}, "class_weights is for classification and multilabel"),
        (
            {"task": "multilabel", "objectives": {"mae": "minimize"}},
            "mae is for regression, and the task of the data is multilabel",
        ),
        (
            {"modalities": 1, "objectives": {"worst_missing_accuracy": "maximize"}},
            "worst_missing_accuracy is for classification",
        ),
    ],
)
def test_what_does_not_fit_the_task_is_refused_before_the_search(table, sections, message):
    with pytest.raises(nas.RequestError, match=re.escape(message)):
        prepare(table(**sections), [])


@pytest.mark.parametrize(
    ("validation", "where"), [("{}", "the validation split"), ("{folds: 9}", "fold 0"), ("{folds: 3}", None)]
)
def test_an_objective_that_the_labels_for_validation_do_not_have_is_refused_before_the_search(
    tmp_path, validation, where
):
    parts = ["validation", "test", *["train"] * 8]
    lines = [f"word {n},{n},{part}" for n, part in enumerate(parts)]
    (tmp_path / "data.csv").write_text("\n".join(["words,price,part", *lines]))
    data = "{manifest: data.csv, label: price, task: regression, split: part, cache: cache}"
    for objectives, refused in (("{r2: maximize}", where), ("{mae: minimize}", None)):
        text = f"data: {data}\nobjectives: {objectives}\nvalidation: {validation}\n"
        (tmp_path / "mine.yaml").write_text(text)
        with pytest.raises(nas.RequestError) if refused else nullcontext() as caught:
            prepare(tmp_path / "mine.yaml", [])
        if refused:
            expected = f"mine.yaml:2: objectives.r2: r2 is not a number on {where} (samples: 1)"
            assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("task", "training", "missing"),
    [
        ("multilabel", {}, set()),
        ("regression", {}, {"modulation"}),
        ("multilabel", {"auxiliary_loss": 0.5}, {"auxiliary_loss"}),
        ("multilabel", {"encoders": "frozen"}, {"modulation"}),
    ],
)
def test_without_a_space_every_add_on_is_searched_that_fits_and_is_not_pinned(table, task, training, missing):
    resolved = prepare(table(task, space=None, training={"batch_size": 16} | training), []).experiment
    every = {"modality_dropout", "auxiliary_loss", "gradient_blending", "modulation"}
    assert set(resolved.space["training"]) == every - missing
    assert resolved.training.batch_size == 16


def test_an_objective_of_a_missing_modality_wants_two_of_them(write_experiment):
    file = write_experiment(data={"avt_digits": {"modalities": ["image"]}}, space={})
    with pytest.raises(nas.RequestError, match="needs at least 2 modalities, and the data have 1"):
        prepare(file, ["objectives={mean_missing_accuracy: maximize}"])


def trained(table, task, objectives, **training):
    prepare(table(task), [])
    dataset = load_dataset("table", task=task)
    settings = Training(epochs=30, batch_size=16, learning_rate=0.01, **training)
    evaluator = Evaluator(dataset, objectives, settings)
    encoders = {name: {"mlp": {}} for name in ("left", "right")}
    tree = {"dim": 16, "encoders": encoders, "connector": {"none": {}}}
    return dataset, evaluator(Architecture(tree | {"fusion": {"concat": {}}, "head": {"linear": {}}}), 0)


def test_a_regression_learns_targets_far_from_zero_and_reports_their_own_units(table):
    dataset, evaluation = trained(table, "regression", ["r2", "mae"])
    assert evaluation.values["r2"] > 0.9
    split = dataset.splits["validation"]
    outputs = evaluation.network.eval()(split.inputs)
    assert outputs.mean().item() == pytest.approx(1000, abs=100)
    error = (outputs[:, 0] - split.labels).abs().mean().item()
    assert evaluation.values["mae"] == pytest.approx(error, rel=1e-4)


def test_a_multilabel_task_is_learned(table):
    _, evaluation = trained(table, "multilabel", ["average_precision", "exact_match"])
    assert evaluation.values["average_precision"] > 0.9
    assert evaluation.values["exact_match"] > 0.6


# Missing modalities as objectives


def test_accuracy_without_a_modality_is_that_of_the_samples_that_have_another():
    modalities = {name: ModalitySpec("vector", (2,)) for name in ("left", "right")}
    task = Task("classification", ("a", "b"))
    tree = {
        "dim": 4,
        "encoders": {key: {"mlp": {}} for key in modalities},
        "connector": {"none": {}},
        "fusion": {"late": {}},
        "head": {"linear": {}},
    }
    network = build(tree, modalities, task, seed=3).eval()
    generator = torch.Generator().manual_seed(1)
    x = {name: torch.randn(40, 2, generator=generator) for name in modalities}
    present = torch.ones(40, 2, dtype=torch.bool)
    present[:10, 1] = False  # these have the left alone
    labels = torch.randint(2, (40,), generator=generator)
    split = TensorSplit(x, labels, present=present)
    with torch.no_grad():
        left = network(x, present=torch.tensor([True, False]).expand(40, 2)).argmax(1)
        right = network(x, present=torch.tensor([False, True]).expand(40, 2)).argmax(1)
    without_right = (left == labels).double().mean().item()
    without_left = (right == labels)[10:].double().mean().item()
    context = Context(network, modalities, task, split.batch(torch.arange(1)), left, labels, split)
    assert create("objective", "worst_missing_accuracy")(context) == min(without_left, without_right)
    mean = create("objective", "mean_missing_accuracy")(context)
    assert mean == pytest.approx((without_left + without_right) / 2)
