"""Model files: the shipped ones are sound, and every fault of a broken one is reported."""

from pathlib import Path

import pytest

from bayes_cpt._support.shipped import shipped
from bayes_cpt.errors import SpecError
from bayes_cpt.laws.shipped_laws import LAWS
from bayes_cpt.statistical_model.discrepancy import COMPONENTS
from bayes_cpt.statistical_model.model_files import (
    DEFAULT_MODEL,
    FAMILIES,
    FORWARD_POWER,
    model_names,
    parse_spec,
    read_spec,
    required_parameters,
)

TEXTS = {name: (shipped("models") / f"{name}.toml").read_text(encoding="utf-8") for name in model_names()}
SCALE = '[priors.{}_scale]\ndistribution = "LogNormal"\nmedian = 0.1\nsigma = 1.0\nreason = "a test"\n'


def test_there_is_a_model_for_every_law():
    assert {read_spec(name).law.name for name in model_names()} == set(LAWS)
    assert DEFAULT_MODEL in model_names()


@pytest.mark.parametrize("name", model_names())
def test_shipped_models_match_their_law(name: str):
    spec = read_spec(name)
    parts = {f"{component}_scale" for component in spec.components}
    power = set() if spec.law.is_final else {FORWARD_POWER}
    assert set(spec.priors) == {*required_parameters(spec.law), *parts, *power}
    assert parse_spec(name, spec.text).priors == spec.priors  # a fit stores the text, from which it is read again


@pytest.mark.parametrize("name", model_names())
def test_shipped_priors_have_what_their_distribution_takes_on_both_domains(name: str):
    for prior in read_spec(name).priors.values():
        assert set(prior.arguments) == set(FAMILIES[prior.family].arguments)
        values = [prior.argument(key, domain) for key in prior.arguments for domain in LAWS["cpt"].domains]
        assert all(isinstance(value, float) for value in values)


def test_parts_of_the_discrepancy_follow_the_priors():
    text = TEXTS["annealing"]
    spec = parse_spec("m", without_table(text, "offset_scale"))
    assert set(read_spec("annealing").components) - set(spec.components) == {"offset"}
    assert list(spec.components) == [name for name in COMPONENTS if name in spec.components]


def test_a_model_extends_another():
    own = """
        extends = "cpt"
        without = ["smooth_scale"]
        [priors.beta]
        distribution = "Normal"
        mu = 0.3
        sigma = 0.1
        reason = "a test"
    """
    spec, base = parse_spec("mine", own), read_spec("cpt")
    assert spec.law == base.law
    assert spec.priors["beta"].arguments == {"mu": 0.3, "sigma": 0.1}
    same = set(base.priors) - {"beta", "smooth_scale"}
    assert {name: spec.priors[name] for name in same} == {name: base.priors[name] for name in same}
    assert set(spec.priors) == same | {"beta"}


def test_arguments_may_differ_by_domain():
    prior = read_spec("cpt-replay").priors["replay_scale"]
    assert prior.argument("median", "pt") != prior.argument("median", "cpt")
    assert prior.argument("sigma", "pt") == prior.argument("sigma", "cpt")
    with pytest.raises(SpecError, match=r"none for 'doc'.*pt, cpt"):
        prior.argument("median", "doc")


def test_a_file_of_ones_own(tmp_path: Path):
    path = tmp_path / "mine.toml"
    path.write_text(TEXTS["cpt"], encoding="utf-8")
    assert read_spec(path).name == "mine"
    assert read_spec(path).priors == read_spec("cpt").priors


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("cpt-replai", ["unknown model 'cpt-replai'", "did you mean 'cpt-replay'?", "annealing", ".toml"]),
        ("nowhere/mine.toml", ["no model file at nowhere/mine.toml"]),
    ],
)
def test_no_such_model(model: str, words: list[str]):
    with pytest.raises(SpecError) as caught:
        read_spec(model)
    assert all(word in str(caught.value) for word in words), caught.value


def without_table(text: str, name: str) -> str:
    """Leave out the prior of a parameter."""
    before, after = text.split(f"[priors.{name}]")
    rest = after.find("\n[")
    return before + (after[rest + 1 :] if rest >= 0 else "")


def in_table(text: str, name: str, old: str, new: str) -> str:
    """Replace the first place of a text within the prior of a parameter."""
    before, after = text.split(f"[priors.{name}]")
    assert old in after.split("[priors.")[0], f"{old!r} is not in [priors.{name}]"
    return f"{before}[priors.{name}]{after.replace(old, new, 1)}"


CPT, OPEN = TEXTS["cpt"], read_spec("open-checkpoint").text

# the text of a model; words of its error
BROKEN: dict[str, tuple[str, list[str]]] = {
    "not TOML": ("law = ", ["mine: not TOML"]),
    "no law": (CPT.replace('law = "cpt"\n', ""), ["mine", "law (or extends, without), description and [priors.NAME]"]),
    "extends a stranger": ('extends = "cpd"', ["unknown model 'cpd'", "did you mean 'cpt'?"]),
    "without a stranger": ('extends = "cpt"\nwithout = ["betta"]', ["mine", "without names betta", "cpt has no prior"]),
    "unknown key": (f"seed = 1\n{CPT}", ["unknown: ['seed']"]),
    "unknown law": (
        CPT.replace('law = "cpt"', 'law = "cpt-repla"'),
        ["unknown law 'cpt-repla'", "did you mean 'cpt-replay'?"],
    ),
    "no priors": ('law = "cpt"', ["[priors.alpha] is missing", "[priors.noise_floor] is missing"]),
    "misspelt prior": (
        CPT.replace("[priors.alpha]", "[priors.alfa]"),
        [
            "2 faults",
            "[priors.alfa] is not a parameter of law 'cpt' (did you mean 'alpha'?)",
            "[priors.alpha] is missing",
        ],
    ),
    "missing prior": (without_table(CPT, "beta"), ["[priors.beta] is missing: law 'cpt' needs it"]),
    "prior of another law": (CPT + SCALE.format("replay"), ["[priors.replay_scale] is not a parameter of law 'cpt'"]),
    "unknown distribution": (
        in_table(CPT, "alpha", "LogNormal", "Cauchy"),
        ["[priors.alpha] has distribution 'Cauchy'", *FAMILIES],
    ),
    "no distribution": (
        in_table(CPT, "alpha", 'distribution = "LogNormal"\n', ""),
        ["[priors.alpha] has distribution None"],
    ),
    "wrong argument": (
        in_table(CPT, "alpha", "median", "mean"),
        ["[priors.alpha] has arguments ['mean', 'sigma']", "LogNormal takes ['median', 'sigma']"],
    ),
    "argument missing": (in_table(CPT, "alpha", "sigma = 0.6\n", ""), ["[priors.alpha] has arguments ['median']"]),
    "argument is text": (
        in_table(CPT, "alpha", "sigma = 0.6", 'sigma = "0.5"'),
        ["[priors.alpha] has an argument that is not a finite number"],
    ),
    "argument is a truth value": (
        in_table(CPT, "alpha", "sigma = 0.6", "sigma = true"),
        ["[priors.alpha] has an argument that is not a finite number"],
    ),
    "argument is infinite": (in_table(CPT, "alpha", "sigma = 0.6", "sigma = inf"), ["[priors.alpha]", "finite"]),
    "argument is not a number": (in_table(CPT, "alpha", "sigma = 0.6", "sigma = nan"), ["[priors.alpha]", "finite"]),
    "scale is zero": (
        in_table(CPT, "alpha", "sigma = 0.6", "sigma = 0.0"),
        ["[priors.alpha] has an argument that must be positive"],
    ),
    "negative on one domain": (
        in_table(TEXTS["cpt-replay"], "replay_scale", "pt = 0.03", "pt = -0.03"),
        ["[priors.replay_scale] has an argument that must be positive"],
    ),
    "bad unit": (
        in_table(CPT, "memory", 'unit = "steps"', 'unit = "tokens"'),
        ["[priors.memory] has unit 'tokens'", "none, loss, steps, forward_area_cpt"],
    ),
    "no reason": (
        in_table(CPT, "beta", 'reason = "', 'reason = "" # "'),
        ["[priors.beta] has no reason"],
    ),
    "empty reason": (in_table(CPT, "beta", 'reason = "', 'reason = "  " # "'), ["[priors.beta] has no reason"]),
    "prior is not a table": (
        'law = "cpt"\npriors.beta = 1.0\n',
        ["[priors.beta] must be a table", "not 1.0", "[priors.alpha] is missing"],
    ),
    "priors is not a table": ('law = "cpt"\npriors = 3\n', ["mine", "[priors.NAME] tables"]),
    "law is not text": ("law = 3\n", ["unknown law '3'"]),
    "law is a list": ('law = ["cpt"]\n', ["unknown law", "the laws are"]),
    "smooth of an open checkpoint": (
        OPEN + SCALE.format("smooth"),
        ["[priors.smooth_scale] is not a parameter of law 'open-checkpoint'"],
    ),
    "shift of pre-training": (
        TEXTS["annealing"] + SCALE.format("shift"),
        ["[priors.shift_scale] is not a parameter of law 'annealing'"],
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_faults_of_a_model_file_are_reported(case: str):
    text, words = BROKEN[case]
    with pytest.raises(SpecError) as caught:
        parse_spec("mine", text)
    assert all(word in str(caught.value) for word in words), caught.value


def test_all_faults_are_reported_at_once():
    text = in_table(without_table(CPT, "beta"), "memory", '"steps"', '"tokens"')
    text = in_table(text, "alpha", "LogNormal", "Cauchy").replace("[priors.noise_floor]", "[priors.noise_flor]")
    with pytest.raises(SpecError) as caught:
        parse_spec("mine", text)
    first, *faults = str(caught.value).splitlines()
    assert first == "mine: 5 faults"
    told = "\n".join(faults)
    assert len(faults) == 5
    assert all(f"[priors.{name}]" in told for name in ("beta", "memory", "alpha", "noise_floor", "noise_flor"))
