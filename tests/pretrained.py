"""Models that tests make themselves: a tiny transformers model, its tokenizer, a stand-in for timm."""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import torch

STAND_IN = '''
"""The part of timm's interface that is used, with two models of its own."""

import torch
from torch import nn


class Tiny(nn.Module):
    """A convolution, a batch norm, a global average, and a classifier unless there are no classes."""

    def __init__(self, in_chans, num_classes, size):
        super().__init__()
        self.pretrained_cfg = {"input_size": (3, *size), "fixed_input_size": bool(size[0] == 6)}
        self.conv, self.norm = nn.Conv2d(in_chans, 5, 1), nn.BatchNorm2d(5)
        self.fc = nn.Linear(5, num_classes) if num_classes else nn.Identity()
        self.seen = None

    def forward(self, x):
        self.seen = tuple(x.shape)
        return self.fc(self.norm(self.conv(x)).mean((2, 3)))


def create_model(model_name, pretrained=False, num_classes=1000, in_chans=3):
    assert not pretrained
    sizes = {"tiny": (224, 224), "tiny_fixed": (6, 6), "tiny_deep": (224, 224)}
    if model_name not in sizes:
        raise RuntimeError(f"Unknown model ({model_name})")
    model = Tiny(in_chans, num_classes, sizes[model_name])
    if model_name == "tiny_deep":
        model.conv = nn.Conv2d(in_chans, 5, 2)
    return model
'''


def stand_in_for_timm(folder: Path, monkeypatch) -> None:
    """Let `import timm` find a stand-in, written into a folder, until the end of the test."""
    file = folder / "timm_stand_in.py"
    file.write_text(STAND_IN)
    spec = spec_from_file_location("timm", file)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setitem(sys.modules, "timm", module)


def tiny_bert(folder: Path, **settings) -> Path:
    """A folder with a BERT of one layer, 50 token ids and random weights."""
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    sizes = {"vocab_size": 50, "hidden_size": 16, "intermediate_size": 24, "max_position_embeddings": 16}
    config = BertConfig(num_hidden_layers=1, num_attention_heads=2, **{**sizes, **settings})
    BertModel(config).save_pretrained(folder)
    return folder


def tiny_tokenizer(
    folder: Path, special=("[PAD]", "[UNK]", "[CLS]", "[SEP]"), words="the cat dog runs sleeps"
) -> Path:
    """The file `tokenizer.json` in a folder: words, after [CLS] and before [SEP], padded and cut short."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    vocabulary = {token: code for code, token in enumerate([*special, *words.split()])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    around = [(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=around)
    tokenizer.enable_padding(length=9)
    tokenizer.enable_truncation(3)
    folder.mkdir(exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder / "tokenizer.json"
