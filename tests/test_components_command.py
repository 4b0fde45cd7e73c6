"""`python -m nas.components`: what can be searched, and the contract suite."""

import pytest

import nas
from nas.components import main

GOOD = """
import nas
from torch import nn

@nas.register("head", "plain")
class Plain(nn.Module):
    '''One layer.

    Args:
        in_dim: In.
        out_dim: Out.
        scale: Factor.
    '''

    domains = {"scale": nas.Float(0.5, 2.0)}

    def __init__(self, in_dim, out_dim, scale=1.0, note="x"):
        super().__init__()
        self.linear = nn.Linear(in_dim, out_dim)
        self.scale = scale

    def forward(self, fused):
        return self.scale * self.linear(fused)
"""
BAD = GOOD.replace('"plain"', '"squeezed"').replace("self.linear(fused)", "self.linear(fused).squeeze()")


def test_all_kinds_and_components_are_listed(capsys):
    assert main([]) == 0
    out = capsys.readouterr().out
    for kind in nas.registry.KINDS:
        assert f"{kind}:\n" in out
        for name in nas.available(kind):
            assert f"  {name}: " in out


def test_one_kind_is_listed_with_domains_and_defaults(capsys):
    assert main(["head"]) == 0
    out = capsys.readouterr().out
    assert "fusion:" not in out
    assert "  mlp: Linear → ReLU → dropout → linear." in out
    assert "      hidden: 16…256 log, default 64" in out
    assert "      dropout: 0…0.5, default 0.0" in out
    assert "in_dim" not in out


def test_components_of_plugins_are_listed(capsys, tmp_path):
    (tmp_path / "plain.py").write_text(GOOD)
    assert main(["head", "--plugins", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "  plain: One layer." in out
    assert "      scale: 0.5…2, default 1.0" in out
    assert "      note: not searched, default 'x'" in out


def test_checking_a_component_that_keeps_the_contract(capsys, tmp_path):
    (tmp_path / "plain.py").write_text(GOOD)
    assert main(["head", "--check", "plain", "--plugins", str(tmp_path / "plain.py")]) == 0
    assert capsys.readouterr().out == "head plain keeps the contract\n"


def test_checking_a_component_that_breaks_the_contract(capsys, tmp_path):
    (tmp_path / "squeezed.py").write_text(BAD)
    assert main(["head", "--check", "squeezed", "--plugins", str(tmp_path)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("head 'squeezed' breaks its contract:\n  - ")
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["heads"], "invalid choice: 'heads'"),
        (["head", "--check", "linaer"], "there is no head 'linaer'; did you mean 'linear'?"),
        (["--check", "linear"], "--check needs the kind too: python -m nas.components fusion --check late"),
        (["--plugins", "absent.py"], "plugin absent.py does not exist"),
        (
            ["--plugins", "broken.py"],
            "plugin broken.py failed to import: ZeroDivisionError: division by zero",
        ),
    ],
)
def test_a_wrong_request_is_told_in_one_line(capsys, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.py").write_text("1 / 0")
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert message in err
