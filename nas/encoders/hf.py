"""`hf`: a model of Hugging Face's transformers library, from a folder on this machine."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from nas.encoders._pretrained import PretrainedEncoder
from nas.encoders._text import real_tokens, vocabulary
from nas.modality import ModalitySpec, check_spec
from nas.registry import register

POOLER = "pooler"
CONFIG = "config.json"


@register("encoder", "hf")
class HuggingFaceEncoder(PretrainedEncoder):
    """Hidden states of a transformers model (Wolf et al., arXiv 1910.03771), then linear: as many tokens.

    The folder is one that `save_pretrained` has written, with `config.json` and safetensors. Nothing is
    downloaded or unpickled, and no code of the folder is run. The model knows the ids of its own
    tokenizer alone: the data have to be tokenised with it, as the option `tokenizer` of a manifest's text
    does, 0 or a mask standing for padding.

    Args:
        spec: The text modality; its vocabulary is at most that of the model.
        dim: Width of the tokens.
        path: Folder of the model.
        tune: `frozen` trains the linear map alone, `full` the model too.
        config: Content of the folder's `config.json`; the folder is not read then, and the weights, which
            a stored network has of its own, are random.

    Raises:
        ValueError: The modality is no text, the folder holds no such model, or the model knows fewer
            token ids or shorter texts.
    """

    kinds = ("text",)
    layouts = {"text": ((1,),)}
    paths = ("path",)
    extra = "transformers"

    def __init__(
        self, spec: ModalitySpec, dim: int, path: str | Path, tune: str = "frozen", config: str | None = None
    ) -> None:
        check_spec(type(self), spec)
        model = _of_texts(_load(Path(path)) if config is None else _untrained(config), path)
        known = model.config
        _check_size("token ids", vocabulary(spec), known.vocab_size, path)
        _check_size("tokens", spec.shape[0], getattr(known, "max_position_embeddings", None), path)
        super().__init__(model, known.hidden_size, dim, tune)
        self.padding = known.pad_token_id or 0

    @staticmethod
    def portable(settings: Mapping[str, Any]) -> dict[str, Any]:
        """Settings that build the same network without the folder."""
        return {"config": (Path(settings["path"]) / CONFIG).read_text(encoding="utf-8"), **settings}

    def features(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Hidden states `(B, T, width)` of token ids `(B, T)`."""
        real = real_tokens(x, mask)
        if not x.shape[0]:  # which some models cannot read
            return self.project.weight.new_zeros(*x.shape, self.project.in_features)
        attended = real.clone()
        attended[:, 0] |= ~real.any(1)  # of an empty text one, lest a softmax over nothing be NaN
        states: Tensor = self.model(
            input_ids=torch.where(real, x, self.padding), attention_mask=attended.long()
        ).last_hidden_state
        return states


def _load(folder: Path) -> Any:
    """The model of a folder, with all of its weights."""
    if not (folder / CONFIG).is_file():
        raise ValueError(f"{folder} is no folder of a transformers model: it has no {CONFIG}")
    model, found = _from_pretrained(folder)
    lost = sorted(name for name in found["missing_keys"] if not name.startswith(POOLER))
    if lost:
        raise ValueError(
            f"the weights in {folder} are not those of its config.json: they lack {', '.join(lost[:3])}"
        )
    return model


def _untrained(config: str) -> Any:
    """A model of the content of a `config.json`, with random weights."""
    from transformers import AutoConfig, AutoModel

    settings = json.loads(config)
    known = AutoConfig.for_model(settings.pop("model_type"), **settings)
    return AutoModel.from_config(known, trust_remote_code=False, dtype=torch.float32)


def _of_texts(model: Any, path: str | Path) -> Any:
    """What of a model reads texts."""
    if not hasattr(model.config, "vocab_size"):
        raise ValueError(f"{path} holds a {type(model).__name__}, which reads no texts; give one that does")
    if model.config.is_encoder_decoder:
        model = model.get_encoder()
    if hasattr(model, POOLER):
        model.pooler = None  # it is not asked for, and would have parameters that learn nothing
    return model


def _from_pretrained(folder: Path) -> tuple[Any, dict[str, Any]]:
    """The model of a folder, and what of its weights was missing there."""
    from transformers import AutoModel

    try:
        with _quietly():
            loaded: tuple[Any, dict[str, Any]] = AutoModel.from_pretrained(
                folder,
                output_loading_info=True,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                dtype=torch.float32,
            )
    except RuntimeError:  # which refers to a table that the library would have printed
        raise ValueError(f"the weights in {folder} do not have the sizes of its config.json") from None
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise ValueError(f"the model in {folder} cannot be loaded: {' '.join(str(error).split())}") from error
    return loaded


@contextmanager
def _quietly() -> Iterator[None]:
    """No progress bar and no table of the weights by the library, of which every trial would print one."""
    from transformers.utils import logging

    shown, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if shown:
            logging.enable_progress_bar()


def _check_size(what: str, given: int, known: int | None, path: str | Path) -> None:
    if known is not None and given > known:
        raise ValueError(
            f"the text has {given} {what} and the model in {path} takes {known};"
            " prepare the text with the model's own tokenizer and length"
        )
