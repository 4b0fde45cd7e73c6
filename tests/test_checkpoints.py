"""A training that was kept between two epochs goes on as if nothing had happened, to the bit."""

import io

import pytest
import torch

import nas
from nas.datasets import load_dataset
from nas.errors import RequestError, TrialError
from nas.evaluation import Evaluator, Trial
from nas.experiment import Training, load_experiment
from nas.network import build
from nas.registry import get, load_plugins, unset
from nas.search.setup import prepare
from nas.space import Architecture
from nas.training import train

LEARNABLE = {"learnable_watts_strogatz": {"k": 4}}
RULES = [name for name in nas.available("rewiring") if not unset("rewiring", get("rewiring", name))]


@pytest.fixture
def dataset(toy):
    load_plugins([toy])
    return load_dataset("toy")


def architecture(**connector):
    return Architecture(
        {
            "dim": 8,
            "encoders": {"image": {"resnet": {"width": 8}}, "text": {"attention": {"embedding": 16}}},
            "connector": {"small_world": {"layers": 1, "dropout": 0.3} | connector},
            "fusion": {"attention": {}},
            "head": {"linear": {}},
        }
    )


TRAININGS = {
    "learnable beta, before it is frozen": (architecture(topology=LEARNABLE), {"search_phase": 0.8}),
    "learnable beta, after it was frozen": (architecture(topology=LEARNABLE), {"search_phase": 0.4}),
    "learned, then evolving": (
        architecture(topology=LEARNABLE, rewiring={"rigl": {"interval": 1}}),
        {"search_phase": 0.2},
    ),
    "modality dropout": (architecture(), {"modality_dropout": 0.3}),
    "auxiliary loss": (architecture(), {"auxiliary_loss": 0.5}),
    "blending": (architecture(), {"gradient_blending": "online"}),
    "modulation": (architecture(), {"modulation": "ogm_ge"}),
    "verdicts": (architecture(topology=LEARNABLE), {"identifiability": True}),
} | {name: (architecture(rewiring={name: {}}), {}) for name in RULES}


@pytest.mark.parametrize("name", TRAININGS)
def test_a_training_goes_on_from_its_state_as_if_nothing_had_happened(name, dataset):
    tree, chosen = TRAININGS[name]
    settings = Training(epochs=5, batch_size=12, **chosen)
    states = []

    def run(on_epoch=lambda epoch: None, state=None):
        network = build(tree, dataset.modalities, dataset.task, seed=0)
        parts = dataset.splits["train"], dataset.splits["validation"]
        last = train(network, *parts, settings, 1, on_epoch, state=state)
        return last, network

    def keep(epoch):
        if epoch.number == 3:
            torch.save(epoch.state(), content)
        states.append(epoch.state is not None)

    content = io.BytesIO()
    expected, undisturbed = run(keep)
    content.seek(0)
    torch.manual_seed(99)
    found, resumed = run(state=torch.load(content, weights_only=True))
    assert states == [True] * 4 + [False]
    assert found.train_loss == expected.train_loss
    assert torch.equal(found.outputs, expected.outputs)
    assert repr(found.wiring) == repr(expected.wiring)
    for key, value in undisturbed.state_dict().items():
        assert torch.equal(resumed.state_dict()[key], value), key


class Killed(BaseException):
    """As if the process had died."""


def test_a_trial_whose_process_dies_goes_on_and_reports_what_it_had_reported(dataset, tmp_path):
    file = tmp_path / "state"
    evaluator = Evaluator(dataset, ["accuracy"], Training(epochs=5, batch_size=12), checkpoint_every=2)

    def run(dies_in=None, seed=1, file=file):
        reported = []

        def on_epoch(metrics):
            reported.append(metrics)
            if metrics["epoch"] == dies_in:
                raise Killed

        trial = Trial(architecture(), seed, on_epoch, checkpoint=file)
        try:
            [(_, evaluation, _)] = evaluator.together([trial])
        except Killed:
            return reported
        assert evaluation.epochs == reported
        return reported

    expected = run(file=None)
    first = run(dies_in=4)
    assert file.exists()
    again = run()
    assert again[:4] == first  # the times too: nothing of it has been computed again
    assert without_times(again) == without_times(expected)
    assert without_times(run(seed=2)) == without_times(run(seed=2, file=None))


@pytest.mark.parametrize("share", [0, 0.5, 0.99])
def test_a_trial_whose_state_is_damaged_begins_anew(dataset, tmp_path, share):
    file = tmp_path / "state"
    evaluator = Evaluator(dataset, ["accuracy"], Training(epochs=3, batch_size=12), checkpoint_every=2)
    trial = Trial(architecture(), 1, checkpoint=file)
    [(_, expected, _)] = evaluator.together([trial])
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    [(_, again, _)] = evaluator.together([trial])
    assert without_times(again.epochs) == without_times(expected.epochs)


class Group:
    """Four trials of one shape and one of another, which keep their states; the second is soon stopped.

    Args:
        folder: Where the states are kept; None keeps none.
    """

    def __init__(self, dataset, folder=None):
        training = Training(epochs=5, batch_size=12)
        self.evaluator = Evaluator(dataset, ["accuracy"], training, checkpoint_every=2)
        self.folder = folder

    def run(self, places=range(5), dies_in=None, stopped=None):
        """Reports and outcomes by place; the process dies in the report of an epoch of a place."""
        reports, ended = {place: [] for place in places}, {}
        trials = [self._trial(place, reports[place], dies_in, stopped) for place in places]
        try:
            for index, outcome, _ in self.evaluator.together(trials):
                ended[places[index]] = outcome
        except Killed:
            pass
        return reports, ended

    def file(self, place):
        return self.folder and self.folder / str(place)

    def _trial(self, place, reports, dies_in, stopped):
        def on_epoch(metrics):
            reports.append(metrics)
            if (place, metrics["epoch"]) == dies_in:
                raise Killed
            if (place, metrics["epoch"]) in ((1, 1), stopped):
                raise TrialError("pruned", "enough")

        tree = architecture() if place < 4 else architecture(layers=2)
        return Trial(tree, place, on_epoch, checkpoint=self.file(place))


@pytest.fixture
def undisturbed(dataset):
    return Group(dataset).run()


@pytest.mark.parametrize("epoch", [2, 3, 5])
def test_a_population_whose_process_dies_goes_on_together_to_the_bit(dataset, tmp_path, undisturbed, epoch):
    group = Group(dataset, tmp_path)
    before, ended = group.run(dies_in=(2, epoch))
    assert [*ended] == ([1, 0] if epoch == 5 else [1])
    left = [place for place in range(5) if place not in ended]
    assert [place for place in range(5) if group.file(place).exists()] == [0, 2, 3]
    after, outcomes = group.run(left)
    for place in left:
        for one, other in zip(before[place][: epoch // 2 * 2], after[place], strict=False):
            assert one == other  # the times too: it is reported again, and not computed again
        assert without_times(after[place]) == without_times(undisturbed[0][place])
        assert without_times(outcomes[place].epochs) == without_times(undisturbed[0][place])
        for key, value in undisturbed[1][place].network.state_dict().items():
            assert torch.equal(outcomes[place].network.state_dict()[key], value), key


def test_members_that_have_kept_other_epochs_train_apart_and_end_alike(dataset, tmp_path, undisturbed):
    group = Group(dataset, tmp_path)
    group.run(dies_in=(2, 4))
    group.file(0).unlink()
    left = [0, 2, 3]
    _, outcomes = group.run(left)
    assert [one.epochs[0]["population"]["size"] for one in outcomes.values()] == [1, 4, 4]
    for place in left:
        assert outcomes[place].values == pytest.approx(undisturbed[1][place].values, abs=1e-5)


def test_a_member_that_is_stopped_in_what_it_reports_again_stays_stopped(dataset, tmp_path, undisturbed):
    group = Group(dataset, tmp_path)
    group.run(dies_in=(2, 4))
    reports, outcomes = group.run([0, 2, 3], stopped=(0, 3))
    assert outcomes[0].kind == "pruned"
    assert len(reports[0]) == 3
    for place in (2, 3):
        assert outcomes[place].values == pytest.approx(undisturbed[1][place].values, abs=1e-5)


def without_times(epochs):
    return [{key: value for key, value in metrics.items() if key != "seconds"} for metrics in epochs]


def test_a_rule_that_does_not_say_what_it_knows_is_not_kept(dataset):
    @nas.register("rewiring", "silent")
    class Silent:
        """Does nothing and says nothing."""

        def step(self, layer, step):
            pass

    tree = architecture(rewiring={"silent": {}})
    network = build(tree, dataset.modalities, dataset.task, seed=0)
    epochs = []
    parts = dataset.splits["train"], dataset.splits["validation"]
    train(network, *parts, Training(epochs=2, batch_size=12), 1, epochs.append)
    assert [epoch.state for epoch in epochs] == [None, None]


def test_checkpoints_of_a_cluster_need_a_place_that_all_nodes_reach(write_experiment):
    file = write_experiment(
        execution={"backend": "ray", "address": "auto", "checkpoint_every": 1, "workers": 1}
    )
    with pytest.raises(RequestError, match="checkpoint_every needs storage"):
        load_experiment(file)


@pytest.mark.parametrize("url", ["s3://key:secret@bucket/nas", "s3://bucket/nas?access_key=a&secret_key=b"])
def test_keys_in_the_url_of_a_storage_are_refused(write_experiment, url):
    file = write_experiment(execution={"backend": "ray", "storage": url})
    with pytest.raises(RequestError, match="leave the keys out of storage"):
        load_experiment(file)


@pytest.mark.parametrize(
    ("training", "said"),
    [({"encoders": "frozen"}, "encoders: frozen"), ({"population": 4}, None), ({}, None)],
)
def test_that_checkpoints_do_nothing_for_a_training_is_said(write_experiment, training, said):
    file = write_experiment(
        execution={"checkpoint_every": 1, "workers": 1}, training={"epochs": 2} | training
    )
    warnings = [line for line in prepare(file, []).warnings if "checkpoint_every" in line]
    assert [said in line for line in warnings] == ([True] if said else [])
