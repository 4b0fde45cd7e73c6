"""The contract suite passes every component of ours, and catches those that are broken."""

import itertools

import numpy as np
import pytest
import torch
from pretrained import stand_in_for_timm, tiny_bert
from torch import nn

import nas
from nas import registry
from nas.contract import ContractError, check_component
from nas.datasets import TensorSplit

KINDS = nas.registry.KINDS
_numbers = itertools.count()


@pytest.fixture
def registered():
    """Register classes under names of their own, and take them back after the test."""
    added = []

    def add(kind: str, component: type) -> str:
        name = f"contract_test_{next(_numbers)}"
        registry.register(kind, name)(component)
        added.append((kind, name))
        return name

    yield add
    for kind, name in added:
        del registry._components[kind][name]


@pytest.fixture
def complaint(registered):
    """The contract suite's complaint about a class."""

    def complain(kind: str, component: type, **settings) -> str:
        name = registered(kind, component)
        if hasattr(component, "forward"):
            component.name = name
        with pytest.raises(ContractError) as caught:
            check_component(kind, name, **settings)
        return str(caught.value)

    return complain


class MeanFusion(nn.Module):
    """Average of the modalities that are there."""

    name = "mean"

    def __init__(self, dims):
        super().__init__()
        self.out_dim = dims[0]

    def combine(self, stacked):
        return stacked

    def forward(self, features, present=None, return_gates=False):
        stacked = torch.stack(list(features), 1)
        if present is None:
            present = torch.ones(stacked.shape[:2], dtype=torch.bool, device=stacked.device)
        stacked = self.combine(stacked.masked_fill(~present[..., None], 0))
        stacked = stacked.masked_fill(~present[..., None], 0)
        fused = stacked.sum(1) / present.sum(1, keepdim=True).clamp(min=1)
        return (fused, {"type": self.name, "weights": None}) if return_gates else fused


class Head(nn.Module):
    """W h."""

    def __init__(self, in_dim, out_dim):
        super().__init__()
        self.linear = nn.Linear(in_dim, out_dim)

    def forward(self, fused):
        return self.linear(fused)


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in KINDS for name in nas.available(kind)])
def test_every_component_keeps_its_contract(kind, name, tmp_path, monkeypatch):
    settings = {}
    if (kind, name) == ("topology", "explicit"):
        settings["path"] = tmp_path / "edges.csv"
        settings["path"].write_text("0,1\n1,0\n")
    elif (kind, name) == ("encoder", "hf"):
        settings["path"] = tiny_bert(tmp_path)
    elif (kind, name) == ("encoder", "timm"):
        stand_in_for_timm(tmp_path, monkeypatch)
        settings["name"] = "tiny"
    check_component(kind, name, **settings)


def test_a_value_that_only_a_person_can_give_is_asked_for():
    with pytest.raises(nas.RequestError, match="needs values to be checked: path"):
        check_component("topology", "explicit")


def test_a_plugin_that_keeps_the_contract_passes(registered):
    MeanFusion.name = registered("fusion", MeanFusion)
    check_component("fusion", MeanFusion.name)
    check_component("head", registered("head", Head))


def test_the_suite_leaves_torchs_generator_as_it_was():
    before = torch.get_rng_state()
    check_component("head", "mlp")
    assert torch.equal(torch.get_rng_state(), before)


def test_settings_can_be_pinned():
    check_component("head", "mlp", hidden=17)
    check_component("fusion", "early", dims=[5, 9], hidden=3)
    with pytest.raises(nas.RequestError, match=r"'hiden'.*did you mean 'hidden'"):
        check_component("head", "mlp", hiden=17)


def test_a_component_that_does_not_exist_is_a_wrong_request():
    with pytest.raises(nas.RequestError, match="did you mean 'linear'"):
        check_component("head", "lineal")


def test_a_parameter_in_a_python_list_is_found(complaint):
    class Listed(MeanFusion):
        """Mean, scaled by parameters in a list."""

        def __init__(self, dims):
            super().__init__(dims)
            self.factors = [nn.Parameter(torch.ones(width)) for width in dims]

        def combine(self, stacked):
            return stacked * torch.stack(self.factors)

    assert "a parameter in the list factors is used but not registered" in complaint("fusion", Listed)


def test_a_parameter_that_is_never_used_is_named(complaint):
    class Idle(Head):
        """W h, and a layer for nothing."""

        def __init__(self, in_dim, out_dim):
            super().__init__(in_dim, out_dim)
            self.spare = nn.Linear(in_dim, out_dim)

    message = complaint("head", Idle)
    assert "spare.weight gets no gradient" in message
    assert "spare.bias gets no gradient" in message


def test_a_squeeze_at_batch_one_is_caught(complaint):
    class Squeezed(Head):
        """W h, squeezed."""

        def forward(self, fused):
            return self.linear(fused).squeeze()

    assert "(B, out_dim) = (1, 10) expected, (10,) given" in complaint("head", Squeezed)


def test_modality_dropout_of_a_whole_batch_is_caught(complaint):
    class Dropping(MeanFusion):
        """Mean that drops modalities, one draw per batch."""

        def combine(self, stacked):
            kept = torch.rand(1, stacked.shape[1], 1) < 0.5
            return stacked * kept if self.training else stacked

    assert "dropped for a whole batch; draw per sample" in complaint("fusion", Dropping)


def test_modality_dropout_per_sample_is_fine(registered):
    class Dropping(MeanFusion):
        """Mean that drops modalities, one draw per sample."""

        def combine(self, stacked):
            kept = torch.rand_like(stacked[..., :1]) < 0.5
            return stacked * kept if self.training else stacked

    Dropping.name = registered("fusion", Dropping)
    check_component("fusion", Dropping.name)


def test_ignoring_present_is_caught(complaint):
    class Ignorant(MeanFusion):
        """Mean of all, absent or not."""

        def forward(self, features, present=None, return_gates=False):
            return super().forward(features, None, return_gates)

    message = complaint("fusion", Ignorant)
    assert "other features of an absent modality change the output" in message
    assert "NaN in an absent modality changes the output" in message


def test_masking_by_a_product_is_caught(complaint):
    class Multiplied(MeanFusion):
        """Mean with a product for a mask."""

        def forward(self, features, present=None, return_gates=False):
            if present is not None:
                features = [h * present[:, m, None] for m, h in enumerate(features)]
            return super().forward(features, None, return_gates)

    message = complaint("fusion", Multiplied)
    assert "NaN in an absent modality changes the output" in message
    assert "other features" not in message


def test_nothing_present_must_be_finite(complaint):
    class Divided(MeanFusion):
        """Mean that divides by zero."""

        def forward(self, features, present=None, return_gates=False):
            fused = super().forward(features, present)
            fused = fused if present is None else fused / present.any(1, keepdim=True)
            return (fused, {"type": self.name, "weights": None}) if return_gates else fused

    assert "nothing present: the output is not finite" in complaint("fusion", Divided)


def test_the_form_of_the_gates_is_checked(complaint):
    class Gateless(MeanFusion):
        """Mean that never returns gates."""

        def forward(self, features, present=None, return_gates=False):
            return super().forward(features, present)

    assert "return_gates: (fused, {'type', 'weights'}) expected, Tensor given" in complaint(
        "fusion", Gateless
    )


class Forgetful(Head):
    """W h + c, c forgotten."""

    def __init__(self, in_dim, out_dim):
        super().__init__(in_dim, out_dim)
        self.offset = torch.randn(out_dim)

    def forward(self, fused):
        return self.linear(fused) + self.offset


def test_a_tensor_that_stays_behind_on_the_processor_is_caught(complaint):
    class Placeless(Head):
        """W h + (0, 1, …)."""

        def forward(self, h):
            return super().forward(h) + torch.arange(self.linear.out_features)

    for head in (Forgetful, Placeless):
        said = complaint("head", head)
        assert "computes on the device of its inputs: a tensor of shape (10,) in aten." in said


def test_state_outside_of_the_state_dict_is_caught(complaint):
    assert "state_dict round trip: another seed's network gives other outputs" in complaint("head", Forgetful)


def test_randomness_in_eval_mode_is_caught(complaint):
    class Noisy(Head):
        """W dropout(h)."""

        def forward(self, fused):
            return self.linear(nn.functional.dropout(fused, 0.5))

    assert "two calls give different outputs" in complaint("head", Noisy)


def test_samples_that_see_each_other_are_caught(complaint):
    class Centred(Head):
        """W h, less its mean over the batch."""

        def forward(self, fused):
            outputs = self.linear(fused)
            return outputs - outputs.mean(0) if len(outputs) > 1 else outputs

    assert "a sample gives one output alone and another in a batch" in complaint("head", Centred)


def test_padding_that_leaks_is_caught(complaint):
    class Leaky(nn.Module):
        """Mean of the embeddings, padding and all."""

        kinds = ("text",)

        def __init__(self, spec, dim):
            super().__init__()
            self.embedding = nn.Embedding(spec.vocabulary, dim)

        def forward(self, x, mask=None):
            return self.embedding(x).mean(1, keepdim=True)

    assert "token ids under a false mask change the output" in complaint("encoder", Leaky)


class OfFrames(nn.Module):
    """A layer over every frame of a sound."""

    kinds = ("audio",)

    def __init__(self, spec, dim):
        super().__init__()
        self.linear = nn.Linear(spec.shape[-2], dim)


def test_padding_of_sounds_that_leaks_is_caught(complaint):
    class Leaky(OfFrames):
        """Every frame, and the mean of all frames, padding and all."""

        def forward(self, x, mask=None):
            frames = self.linear(x[:, 0].mT)
            return frames + frames.mean(1, keepdim=True)

    assert "padding takes no part: frames under a false mask change the output" in complaint("encoder", Leaky)


def test_sounds_without_frames_must_be_finite(complaint):
    class Fragile(OfFrames):
        """Mean of the real frames, without a thought for none."""

        def forward(self, x, mask=None):
            frames = self.linear(x[:, 0].mT)
            mask = frames.new_ones(frames.shape[:2]) if mask is None else mask
            return (frames * mask[..., None]).sum(1, keepdim=True) / mask.sum(1)[:, None, None]

    message = complaint("encoder", Fragile)
    assert "an input that is all padding is finite: the output is not" in message
    assert "padding takes no part" not in message


def test_texts_without_tokens_must_be_finite(complaint):
    class Fragile(nn.Module):
        """Mean of the real embeddings, without a thought for none."""

        kinds = ("text",)

        def __init__(self, spec, dim):
            super().__init__()
            self.embedding = nn.Embedding(spec.vocabulary, dim)

        def forward(self, x, mask=None):
            mask = x != 0 if mask is None else mask
            return (self.embedding(x) * mask[..., None]).sum(1, keepdim=True) / mask.sum(1)[:, None, None]

    assert "an input that is all padding is finite: the output is not" in complaint("encoder", Fragile)


def test_declarations_are_checked(complaint):
    class Undeclared(nn.Module):
        domains = {"depth": nas.Int(1, 3), "act": ["relu"]}
        kinds = "text"

        def __init__(self, spec, dim, act):
            super().__init__()

    message = complaint("encoder", Undeclared)
    for part in (
        "docstring: it has none",
        "'depth' is not a hyper-parameter",
        "'act' is ['relu']; give nas.Int",
        "`kinds` must be a tuple such as ('image',), not 'text'",
    ):
        assert part in message


def test_a_sample_that_does_not_build_is_reported_with_its_settings(complaint):
    class Narrow(Head):
        """W h, for even widths."""

        domains = {"width": nas.Choice(2, 3)}

        def __init__(self, in_dim, out_dim, width=2):
            super().__init__(in_dim, out_dim)
            if width % 2:
                raise ValueError(f"{width} is odd")

    message = complaint("head", Narrow)
    assert "its domains sample and build: ValueError: 3 is odd [in_dim 32, out_dim 10, width 3]" in message


def test_a_point_is_reported_once_however_many_builds_break_it(complaint):
    class Squeezed(Head):
        """W h, squeezed."""

        domains = {"width": nas.Int(1, 100)}

        def __init__(self, in_dim, out_dim, width=2):
            super().__init__(in_dim, out_dim)

        def forward(self, fused):
            return self.linear(fused).squeeze()

    assert complaint("head", Squeezed).count("(1, 10) expected") == 1


def test_components_that_fit_a_slot_are_all_tried(complaint, registered):
    class Odd:
        """A topology that nobody can build."""

        def __init__(self):
            raise ValueError("never")

    class Wired(Head):
        """W h."""

        domains = {"topology": nas.Component("topology", {"odd_one_out": True})}

        def __init__(self, in_dim, out_dim, topology=None):
            super().__init__(in_dim, out_dim)

    Odd.odd_one_out = True
    name = registered("topology", Odd)
    assert f"ValueError: never [in_dim 32, out_dim 10, topology {name}]" in complaint("head", Wired)


def test_a_topology_is_held_to_its_seed_and_size(complaint):
    class Loops:
        """Every unit to itself, plus an edge at random."""

        def edges(self, out_features, in_features, *, segments=None, seed):
            units = np.arange(in_features)
            target = np.concatenate([units, [0]])
            source = np.concatenate([units, np.random.default_rng().integers(1, in_features, 1)])
            return nas.Edges(in_features, in_features, target, source)

    message = complaint("topology", Loops)
    assert "a unit is linked to itself" in message
    assert "edges 96×96 given, 48×96 asked for" in message
    assert "the same seed gives different edges" in message


def test_a_rewiring_keeps_the_number_of_edges_or_says_what_it_will_leave(complaint, registered):
    class Shrinking:
        """Drops an edge in every step, down to 40."""

        def step(self, layer, step):
            layer.rewire(torch.arange(max(40, len(layer.weight) - 1)))

    assert "80 edges became 40; grow as many as you drop" in complaint("rewiring", Shrinking)
    Shrinking.conserves = False
    assert "final_edges promised 80 edges and there are 40" in complaint("rewiring", Shrinking)
    Shrinking.final_edges = lambda self, layer: 40
    name = registered("rewiring", Shrinking)
    check_component("rewiring", name)


class Bare:
    """Nothing."""


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        ("rewiring", "it has no method 'step'"),
        ("sampler", "it has no method 'propose'"),
        ("pruner", "it has no method 'stops'"),
        ("objective", "`direction` must be 'maximize' or 'minimize', not None"),
        ("objective", "`cheap` must be true or false"),
        ("dataset", "it has no 'splits'"),
    ],
)
def test_parts_of_a_search_need_their_attributes(complaint, kind, fault):
    assert fault in complaint(kind, Bare)


def test_a_dataset_that_needs_a_source_is_judged_by_its_class_alone(registered):
    class Lazy:
        """Sets its attributes in the constructor, which is not called."""

        def __init__(self, source):
            self.modalities, self.task, self.splits = {}, None, {}
            raise AssertionError("loaded")

    check_component("dataset", registered("dataset", Lazy))


class Samples:
    """Pictures with captions."""

    def __init__(self, task: str = "classification", source: str = "here"):
        self.task = nas.Task(task, ("cat", "dog"))
        self.modalities = {
            "photo": nas.ModalitySpec("image", (3, 4, 4)),
            "caption": nas.ModalitySpec("text", (5,), vocabulary=9),
        }
        self.splits = {name: self.split() for name in ("train", "validation", "test")}

    def split(self, **changes):
        ids = torch.arange(50).view(10, 5) % 9
        several = self.task.kind != "classification"
        parts = {
            "inputs": {"photo": torch.arange(480.0).view(10, 3, 4, 4), "caption": ids},
            "labels": torch.eye(2).repeat(5, 1) if several else torch.arange(10) % 2,
            "masks": {"caption": ids != 0},
            "present": torch.ones(10, 2, dtype=torch.bool),
        }
        return TensorSplit(**parts | changes)


def test_the_mask_of_a_sound_is_over_its_frames(registered):
    class Sounds:
        """Sounds of different lengths."""

        def __init__(self, frames: int = 6):
            self.task = nas.Task("classification", ("cat", "dog"))
            self.modalities = {"sound": nas.ModalitySpec("audio", (1, 3, 6))}
            mask = (torch.arange(frames) < 3).expand(10, -1)
            part = TensorSplit({"sound": torch.ones(10, 1, 3, 6)}, torch.arange(10) % 2, {"sound": mask})
            self.splits = dict.fromkeys(("train", "validation", "test"), part)

    name = registered("dataset", Sounds)
    check_component("dataset", name)
    with pytest.raises(ContractError, match=r"the mask of sound is torch.bool \(8, 3\), not bool"):
        check_component("dataset", name, frames=3)


@pytest.mark.parametrize("task", ["classification", "multilabel", "regression"])
def test_a_dataset_that_keeps_the_contract_passes(registered, task):
    check_component("dataset", registered("dataset", Samples), task=task)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"inputs": {"photo": torch.zeros(10, 3, 4, 4)}}, "the batch has no caption"),
        (
            {"inputs": {"photo": torch.zeros(10, 4, 4, 3), "caption": torch.zeros(10, 5).long()}},
            "photo is (8, 4, 4, 3), not (8, 3, 4, 4)",
        ),
        (
            {"inputs": {"photo": torch.zeros(10, 3, 4, 4).byte(), "caption": torch.zeros(10, 5).long()}},
            "photo is torch.uint8; finite float32",
        ),
        (
            {"inputs": {"photo": torch.full((10, 3, 4, 4), torch.nan), "caption": torch.zeros(10, 5).long()}},
            "finite float32 is expected",
        ),
        (
            {"inputs": {"photo": torch.zeros(10, 3, 4, 4), "caption": torch.full((10, 5), 9)}},
            "caption has ids up to 9; the vocabulary is 9",
        ),
        (
            {"inputs": {"photo": torch.zeros(10, 3, 4, 4), "caption": torch.zeros(10, 5)}},
            "caption is torch.float32; token ids are int64",
        ),
        (
            {"masks": {"caption": torch.ones(10, 4, dtype=torch.bool)}},
            "the mask of caption is torch.bool (8, 4)",
        ),
        ({"present": torch.ones(10, 2)}, "present is torch.float32 (8, 2); bool (8, 2) is expected"),
        ({"labels": torch.arange(10)}, "int64 (B,) below 2 are expected"),
        ({"labels": torch.zeros(10)}, "labels are torch.float32 (8,)"),
    ],
)
def test_batches_that_do_not_fit_are_caught(complaint, changes, fault):
    class Wrong(Samples):
        """Pictures with captions, some of them wrong."""

        def split(self):
            return super().split(**changes)

    assert fault in complaint("dataset", Wrong)


@pytest.mark.parametrize(
    ("learnt", "fault"),
    [
        ({"mean": 3.0}, "no class method `unlabelled`"),
        ({"mean": torch.zeros(1)}, "`learnt` is no JSON data"),
        ({"mean": (3.0,)}, "comes back from JSON as something else"),
    ],
)
def test_what_a_dataset_has_learnt_is_json_and_comes_with_what_reads_it(complaint, learnt, fault):
    class Learning(Samples):
        """Pictures with captions, and what was learnt from them."""

        def __init__(self):
            super().__init__()
            self.learnt = learnt

    assert fault in complaint("dataset", Learning)


def test_a_split_that_is_missing_empty_or_random_is_caught(complaint):
    class Jumping(TensorSplit):
        def batch(self, indices):
            batch = super().batch(indices)
            return nas.Batch({n: v + len(indices) for n, v in batch.inputs.items()}, batch.labels)

    class Odd(Samples):
        """Pictures with captions, in odd splits."""

        def __init__(self):
            super().__init__()
            self.splits = {
                "train": Jumping(
                    {"photo": torch.zeros(10, 3, 4, 4), "caption": torch.zeros(10, 5).long()},
                    torch.zeros(10).long(),
                ),
                "validation": TensorSplit(
                    {"photo": torch.zeros(0), "caption": torch.zeros(0)}, torch.zeros(0)
                ),
            }

    message = complaint("dataset", Odd)
    assert "test is missing; there are train, validation" in message
    assert "validation is empty" in message
    assert "photo of sample 9 differs from batch to batch" in message
