"""Encoders that take a model of another library: from files, frozen or tuned, and refused in one line."""

import shutil
import sys

import pytest
import torch
from exports import Example
from pretrained import stand_in_for_timm, tiny_bert, tiny_tokenizer
from safetensors.torch import save_file

import nas
from nas.modality import ModalitySpec
from nas.results.conversion import convert, largest_difference
from nas.results.export import TOLERANCE
from nas.results.exported import to_safetensors
from nas.search import __main__ as search
from nas.search.first_builds import check_encoders
from nas.space.assemble import assemble
from nas.space.files import locate_files

TEXT = ModalitySpec("text", (7,), vocabulary=30)
IMAGE = ModalitySpec("image", (3, 8, 8))
GREY = ModalitySpec("image", (1, 8, 8))


@pytest.fixture
def timm(tmp_path, monkeypatch):
    stand_in_for_timm(tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return tiny_bert(tmp_path_factory.mktemp("bert"))


def texts():
    return torch.tensor([[5, 9, 2, 5, 1, 8, 3], [4, 7, 29, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0]])


def trained(encoder, *inputs) -> set[str]:
    """Names of the parameters that a step of training has changed."""
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    encoder.train()
    optimizer = torch.optim.SGD([p for p in encoder.parameters() if p.requires_grad], 1.0)
    encoder(*inputs).square().sum().backward()
    optimizer.step()
    return {name for name, value in encoder.state_dict().items() if not torch.equal(value, before[name])}


# --- transformers -----------------------------------------------------------------------------------


def test_hf_gives_the_models_own_hidden_states(bert):
    from transformers import AutoModel

    encoder = nas.create("encoder", "hf", TEXT, 9, path=bert).eval()
    model = AutoModel.from_pretrained(bert).eval()
    for row, ids in enumerate(texts()[:2]):
        states = model(input_ids=ids[ids != 0][None]).last_hidden_state
        expected = encoder.project(states)[0]
        torch.testing.assert_close(encoder(texts())[row, : len(expected)], expected, rtol=0, atol=1e-5)


def test_texts_of_a_manifest_reach_the_model_as_its_own_tokenizer_has_them(tmp_path):
    from transformers import AutoModel, PreTrainedTokenizerFast

    path = tiny_bert(tmp_path / "bert", pad_token_id=1)
    file = tiny_tokenizer(path, special=("[CLS]", "[PAD]", "[SEP]", "[UNK]"))  # 0 is no padding here
    said = ["the cat runs", "dog", "a dog sleeps"]
    rows = [f"{said[n % 3]},{'xy'[n % 2]}" for n in range(30)]
    (tmp_path / "data.csv").write_text("\n".join(["words,label", *rows]))
    modalities = {"words": {"text": "words", "tokenizer": "bert"}}
    options = {"label": "label", "modalities": modalities, "cache": "cache"}
    dataset = nas.load_dataset("manifest", str(tmp_path / "data.csv"), **options)
    tree = {"dim": 9, "encoders": {"words": {"hf": {"path": str(path)}}}, "head": {"linear": {}}}
    network = nas.build(tree, dataset.modalities, dataset.task).eval()
    split = dataset.splits["train"]
    batch = split.batch(torch.arange(len(split)))
    reference = PreTrainedTokenizerFast(tokenizer_file=str(file), pad_token="[PAD]")
    tokens = reference(
        [said[n % 3] for n in split.samples], padding=True, truncation=False, return_tensors="pt"
    )
    states = AutoModel.from_pretrained(path).eval()(tokens["input_ids"], tokens["attention_mask"])[0]
    features = network.encoders["words"].project(states)
    kept = tokens["attention_mask"][..., None]
    expected = network.head((features * kept).sum(1) / kept.sum(1))
    torch.testing.assert_close(network(batch.inputs, batch.masks, batch.present), expected)


def test_hf_gives_the_padding_of_the_model_for_ours(tmp_path):
    path = tiny_bert(tmp_path / "other", pad_token_id=3)
    encoder = nas.create("encoder", "hf", TEXT, 9, path=path).eval()
    seen = {}
    encoder.model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.update(kwargs), with_kwargs=True
    )
    encoder(texts())
    assert seen["input_ids"][1].tolist() == [4, 7, 29, 3, 3, 3, 3]
    assert seen["attention_mask"].tolist() == [[1] * 7, [1] * 3 + [0] * 4, [1] + [0] * 6]


def test_an_empty_text_is_finite(bert):
    assert nas.create("encoder", "hf", TEXT, 9, path=bert)(texts()).isfinite().all()


def test_a_frozen_model_learns_nothing_and_has_no_dropout(bert):
    encoder = nas.create("encoder", "hf", TEXT, 9, path=bert, tune="frozen").train()
    assert torch.equal(encoder(texts()), encoder(texts()))
    assert trained(encoder, texts()) == {"project.weight", "project.bias"}


def test_a_tuned_model_learns_in_all_its_parts(bert):
    encoder = nas.create("encoder", "hf", TEXT, 9, path=bert, tune="full")
    assert len(trained(encoder, texts())) > 15


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (ModalitySpec("text", (7,), vocabulary=51), "has 51 token ids and the model in .* takes 50"),
        (ModalitySpec("text", (17,), vocabulary=50), "has 17 tokens and the model in .* takes 16"),
    ],
)
def test_a_text_that_the_model_does_not_know_is_refused(bert, spec, message):
    with pytest.raises(ValueError, match=message):
        nas.create("encoder", "hf", spec, 9, path=bert)


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"it has no config\.json"):
        nas.create("encoder", "hf", TEXT, 9, path=tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="cannot be loaded: Unrecognized model"):
        nas.create("encoder", "hf", TEXT, 9, path=tmp_path)


def test_pickled_weights_are_refused(bert, tmp_path):
    (tmp_path / "config.json").write_text((bert / "config.json").read_text())
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"cannot be loaded: .*safetensors"):
        nas.create("encoder", "hf", TEXT, 9, path=tmp_path)


def damaged(bert, folder, change) -> str:
    """A copy of a model's folder with a change."""
    shutil.copytree(bert, folder)
    change(folder)
    return folder


def widen(folder) -> None:
    config = folder / "config.json"
    config.write_text(config.read_text().replace('"hidden_size": 16', '"hidden_size": 32'))


def forget(folder) -> None:
    save_file({"nothing": torch.zeros(1)}, folder / "model.safetensors", {"format": "pt"})


def model_of_images(folder) -> None:
    from transformers import ViTConfig, ViTModel

    sizes = {"hidden_size": 8, "intermediate_size": 8, "image_size": 32}
    ViTModel(ViTConfig(num_hidden_layers=1, num_attention_heads=2, **sizes)).save_pretrained(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (widen, "do not have the sizes of its config.json"),
        (forget, "are not those of its config.json: they lack embeddings"),
        (
            lambda folder: (folder / "model.safetensors").write_bytes(b"12345678"),
            "cannot be loaded: Error while",
        ),
        (lambda folder: (folder / "model.safetensors").unlink(), "cannot be loaded: Error no file named"),
        (lambda folder: (folder / "config.json").write_text("{"), "is not a valid JSON file"),
        (model_of_images, "holds a ViTModel, which reads no texts"),
    ],
)
def test_a_damaged_model_is_refused_in_one_line(bert, tmp_path, capfd, change, message):
    path = damaged(bert, tmp_path / "model", change)
    with pytest.raises(ValueError, match=message) as caught:
        nas.create("encoder", "hf", TEXT, 9, path=path)
    assert "\n" not in str(caught.value)
    assert "REPORT" not in capfd.readouterr().err


def test_a_model_with_another_head_is_taken_without_a_word(tmp_path, capfd):
    from transformers import BertConfig, BertForMaskedLM

    sizes = {"vocab_size": 50, "hidden_size": 16, "intermediate_size": 24, "max_position_embeddings": 16}
    model = BertForMaskedLM(BertConfig(num_hidden_layers=1, num_attention_heads=2, **sizes))
    model.save_pretrained(tmp_path)
    capfd.readouterr()
    encoder = nas.create("encoder", "hf", TEXT, 9, path=tmp_path)
    assert not "".join(capfd.readouterr())
    word = model.bert.embeddings.word_embeddings.weight
    assert torch.equal(encoder.model.embeddings.word_embeddings.weight, word)


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        ({"hf": {"path": "empty"}}, "encoders.text.hf: {0}/empty is no folder of a transformers model"),
        ({"hf": {"path": "lost"}}, "encoders.text.hf.path: 'lost' does not exist; {0}/lost is where"),
        ({"hf": {"path": "bert", "tune": "half"}}, "encoders.text.hf: tune must be one of {{frozen, full}}"),
        ({"hf": {"path": {"choice": ["bert", "empty"]}}}, "encoders.text.hf: {0}/empty is no folder"),
        ({"hf": {}}, "encoders.text.hf.path: encoder 'hf' needs a value for 'path'"),
        ({"timm": {"name": "tiny"}}, "encoders.text: encoder 'timm' reads image, not text"),
    ],
)
def test_a_wrong_model_is_a_wrong_request_before_anything_is_trained(
    encoder, message, write_experiment, tmp_path, bert, capsys
):
    (tmp_path / "empty").mkdir()
    shutil.copytree(bert, tmp_path / "bert")
    space = {"dim": 4, "encoders": {"image": "cnn", "text": encoder}, "present": "all"}
    file = write_experiment(space=space)
    assert search.main([str(file), "--run-dir", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"space.{message.format(tmp_path)}" in error
    assert not (tmp_path / "run").exists()


def test_a_folder_in_a_space_is_relative_to_its_file_and_looked_for_before_sampling(bert):
    modalities = {"caption": TEXT}
    space = assemble({"encoders": {"caption": {"hf": {"path": bert.name}}}}, modalities)
    located = locate_files(space, bert.parent).to_data()
    assert located["encoders"]["caption"]["hf"]["path"] == str(bert.resolve())
    with pytest.raises(nas.RequestError, match=r"encoders\.caption\.hf\.path: .* does not exist"):
        locate_files(space, bert)


# --- timm -------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("timm")
@pytest.mark.parametrize("suffix", ["safetensors", "pth", "wrapped.pth"])
def test_timm_starts_from_the_weights_of_a_file(tmp_path, suffix):
    import timm

    model, file = timm.create_model("tiny", num_classes=7).eval(), tmp_path / f"weights.{suffix}"
    state = model.state_dict()
    if suffix == "safetensors":
        save_file(state, file)
    else:
        torch.save({"state_dict": state} if "wrapped" in suffix else state, file)
    encoder = nas.create("encoder", "timm", IMAGE, 9, name="tiny", weights=file).eval()
    x = torch.randn(2, 3, 8, 8)
    pooled = model.norm(model.conv(x)).mean((2, 3))
    torch.testing.assert_close(encoder(x)[:, 0], encoder.project(pooled))


@pytest.mark.usefixtures("timm")
def test_a_folder_has_the_weights_of_every_model_that_is_searched(tmp_path):
    import timm

    for name in ("tiny", "tiny_fixed"):
        save_file(timm.create_model(name).state_dict(), tmp_path / f"{name}.safetensors")
    space = assemble(
        {
            "dim": 8,
            "encoders": {"photo": {"timm": {"name": {"choice": ["tiny", "tiny_fixed"]}, "weights": "."}}},
        },
        {"photo": IMAGE},
    )
    check_encoders(locate_files(space, tmp_path), {"photo": IMAGE})
    (tmp_path / "tiny_fixed.safetensors").unlink()
    with pytest.raises(
        nas.RequestError, match=r"encoders\.photo\.timm: .* without tiny_fixed\.safetensors or"
    ):
        check_encoders(locate_files(space, tmp_path), {"photo": IMAGE})


@pytest.mark.usefixtures("timm")
@pytest.mark.parametrize(
    ("content", "message"),
    [([1, 2], "holds a list, not weights by their names"), (None, "the file ends before they do")],
)
def test_a_file_without_weights_is_refused(tmp_path, content, message):
    file = tmp_path / "weights.pth"
    file.touch()
    if content:
        torch.save(content, file)
    with pytest.raises(ValueError, match=message):
        nas.create("encoder", "timm", IMAGE, 9, name="tiny", weights=file)


@pytest.mark.usefixtures("timm")
def test_grey_images_are_repeated_for_pretrained_weights(tmp_path):
    import timm

    save_file(timm.create_model("tiny").state_dict(), tmp_path / "weights.safetensors")
    settings = {"name": "tiny", "weights": tmp_path / "weights.safetensors"}
    grey = nas.create("encoder", "timm", GREY, 9, **settings).eval()
    x = torch.randn(2, 1, 8, 8)
    torch.testing.assert_close(grey(x), grey(x.repeat(1, 3, 1, 1)))
    with pytest.raises(ValueError, match="of images of 3 channels, not 4"):
        nas.create("encoder", "timm", ModalitySpec("image", (4, 8, 8)), 9, **settings)


@pytest.mark.usefixtures("timm")
def test_timm_without_weights_reads_any_number_of_channels():
    assert nas.create("encoder", "timm", GREY, 9, name="tiny").model.conv.in_channels == 1


@pytest.mark.usefixtures("timm")
def test_images_are_resized_for_a_model_of_a_fixed_size():
    encoder = nas.create("encoder", "timm", IMAGE, 9, name="tiny_fixed")
    encoder(torch.randn(2, 3, 8, 8))
    assert encoder.model.seen == (2, 3, 6, 6)


@pytest.mark.usefixtures("timm")
def test_images_that_are_too_small_for_a_model_are_refused():
    with pytest.raises(
        ValueError, match=r"^tiny_deep cannot read images of 1×5 \(.*\); give the data a larger"
    ):
        nas.create("encoder", "timm", ModalitySpec("image", (3, 1, 5)), 9, name="tiny_deep")


@pytest.mark.usefixtures("timm")
def test_a_frozen_model_keeps_its_running_statistics():
    encoder = nas.create("encoder", "timm", IMAGE, 9, name="tiny", tune="frozen")
    assert trained(encoder, torch.randn(4, 3, 8, 8)) == {"project.weight", "project.bias"}
    encoder = nas.create("encoder", "timm", IMAGE, 9, name="tiny", tune="full")
    assert "model.norm.running_mean" in trained(encoder, torch.randn(4, 3, 8, 8))


@pytest.mark.usefixtures("timm")
def test_wrong_names_and_weights_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"timm has no model 'tinny': Unknown model \(tinny\)"):
        nas.create("encoder", "timm", IMAGE, 9, name="tinny")
    with pytest.raises(ValueError, match=r"'hf-hub:timm/tiny' is no name of a model of timm, and nothing is"):
        nas.create("encoder", "timm", IMAGE, 9, name="hf-hub:timm/tiny")
    with pytest.raises(ValueError, match="tune must be one of"):
        nas.create("encoder", "timm", IMAGE, 9, name="tiny", tune="half")
    file = tmp_path / "weights.safetensors"
    for state, message in [
        ({"conv.bias": torch.zeros(5)}, "are of another model: they lack conv.weight"),
        ({"conv.bias": torch.zeros(6)}, "size mismatch for conv.bias"),
    ]:
        save_file(state, file)
        with pytest.raises(ValueError, match=message):
            nas.create("encoder", "timm", IMAGE, 9, name="tiny", weights=file)


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path, timm):
    torch.save({"conv": print}, tmp_path / "weights.pth")
    with pytest.raises(ValueError, match=r"weights\.pth cannot be loaded: .* nothing is unpickled"):
        nas.create("encoder", "timm", IMAGE, 9, name="tiny", weights=tmp_path / "weights.pth")


def test_a_library_that_is_not_installed_is_named_before_sampling(tmp_path, monkeypatch):
    (tmp_path / "timm").mkdir()
    (tmp_path / "timm" / "__init__.py").write_text("import no_such_torchvision")
    monkeypatch.delitem(sys.modules, "timm", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    modalities, space = {"photo": IMAGE}, {"encoders": {"photo": {"timm": {"name": "resnet18"}}}}
    reason = (
        "encoder 'timm' needs timm, which does not import (ModuleNotFoundError: No module named "
        "'no_such_torchvision'); pip install 'small-world-nas[timm]'"
    )
    with pytest.raises(nas.RequestError) as caught:
        assemble(space, modalities)
    assert str(caught.value) == f"encoders.photo: {reason}"
    with pytest.raises(nas.RequestError) as caught:
        nas.create("encoder", "timm", IMAGE, 9, name="resnet18")
    assert str(caught.value) == reason


@pytest.mark.parametrize("modality", ["text", "image"])
def test_a_stored_network_needs_none_of_the_files_with_which_its_models_began(modality, bert, timm, tmp_path):
    import timm as library

    path, weights = shutil.copytree(bert, tmp_path / "bert"), tmp_path / "tiny.safetensors"
    save_file(library.create_model("tiny").state_dict(), weights)
    models = {
        "text": {"hf": {"path": str(path)}},
        "image": {"timm": {"name": "tiny", "weights": str(weights), "tune": "full"}},
    }
    example = Example({}, {"encoders": {modality: models[modality]}}, (modality, "vector"))
    network, batch, file = example.build().eval(), example.batch(), tmp_path / "model.safetensors"
    file.write_bytes(to_safetensors(network, example.description))
    shutil.rmtree(path)
    weights.unlink()
    outputs = [one(batch.inputs, batch.masks, batch.present) for one in (network, nas.load(file))]
    assert torch.equal(*outputs)


def test_a_model_whose_library_is_not_there_is_named_with_the_file(bert, tmp_path, monkeypatch):
    example = Example({}, {"encoders": {"text": {"hf": {"path": str(bert)}}}}, ("text", "vector"))
    file = tmp_path / "model.safetensors"
    file.write_bytes(to_safetensors(example.build(), example.description))
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(nas.RequestError, match=r"model\.safetensors cannot be rebuilt: encoder 'hf' needs"):
        nas.load(file)


def test_models_of_other_libraries_are_never_part_of_choice_all():
    space = assemble({}, {"photo": IMAGE, "caption": TEXT}).to_data()["encoders"]
    assert not {"timm", "hf"} & {*space["photo"]["choice"], *space["caption"]["choice"]}


# --- exports ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("tune", ["frozen", "full"])
@pytest.mark.parametrize("modality", ["text", "image"])
def test_a_network_with_a_model_of_another_library_is_exported(modality, tune, bert, timm):
    models = {
        "text": {"hf": {"path": str(bert), "tune": tune}},
        "image": {"timm": {"name": "tiny", "tune": tune}},
    }
    example = Example({}, {"encoders": {modality: models[modality]}}, (modality, "vector"))
    network, batch = example.build(), example.batch()
    content = convert("torch-export", network, example.description, batch)
    assert largest_difference("torch-export", content, network, batch) < TOLERANCE
