"""The paper as data, and the table of claims: complete, consistent with itself, with recipes and with the run notes."""

from __future__ import annotations

import ast
import inspect
import re
import tomllib
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from paperlib.experiments import declared as experiments_declared
from paperlib.paper import arithmetic, facts
from paperlib.recipe import Recipe, Sizes, field_names, value_of

ROOT = Path(__file__).resolve().parents[2]
CLAIMS = ROOT / "paperlib" / "evidence" / "claims.toml"
ROWS: list[dict[str, Any]] = tomllib.loads(CLAIMS.read_text(encoding="utf-8"))["claim"]
IDS = [row["id"] for row in ROWS]
LETTERS = {  # the claims of each section: a to the letter given
    "S0": "f", "S1": "i", "S2": "e", "S3": "b", "S3.1": "f", "S3.2": "f", "S3.3": "f", "S3.4": "c", "S3.5": "h",
    "S4": "a", "S4.1": "g", "S4.2": "e", "S5": "g", "S6": "i", "S6.1": "f", "S7": "c",
}  # fmt: skip
BASE_IDS = [f"{section}-{chr(c)}" for section, last in LETTERS.items() for c in range(ord("a"), ord(last) + 1)]
NOTEBOOKS = {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")} - {"00_claims"}
PROOF = {
    "arithmetic": "function", "implemented": "test", "shown": "test", "experiment": "experiments", "cited": "source",
    "no measure": "reason", "needs ImageNet": "reason", "not run": "reason",
}  # fmt: skip


def base(claim: str) -> str:
    """The id without the suffix of a split row: S1-d.2 is half of S1-d."""
    section, _, letter = claim.partition("-")
    return f"{section}-{letter.partition('.')[0]}"


def node_exists(node: str, root: Path = ROOT) -> bool:
    """Does pytest find a test of that node id, ``tests/test_x.py::test_name`` or ``…::TestClass::test_name``?"""
    file, _, inside = node.partition("::")
    *classes, name = inside.split("::")
    path = root / file
    if not (re.fullmatch(r"tests/(\w+/)?test_\w+\.py", file) and name.startswith("test_") and path.is_file()):
        return False
    body = ast.parse(path.read_text(encoding="utf-8")).body
    for each_class in classes:
        body = [each for c in body if isinstance(c, ast.ClassDef) and c.name == each_class for each in c.body]
    return any(isinstance(each, ast.FunctionDef) and each.name == name for each in body)


# --- claims.toml --------------------------------------------------------------------------------------------


def test_all_89_claims_are_there_whole_or_in_numbered_parts() -> None:
    assert len(BASE_IDS) == 89
    assert len(set(IDS)) == len(IDS)
    parts = defaultdict(list)
    merged = [place["id"] for row in ROWS for place in row.get("also", [])]
    for claim in sorted([*IDS, *merged], key=lambda each: (BASE_IDS.index(base(each)), each)):
        parts[base(claim)].append(claim)
    assert list(parts) == BASE_IDS
    assert list(map(base, IDS)) == sorted(map(base, IDS), key=BASE_IDS.index)  # in the paper's order
    for name, found in parts.items():
        assert found == [name] or found == [f"{name}.{n}" for n in range(1, len(found) + 1)] != [f"{name}.1"]


def test_a_claim_that_is_made_twice_is_one_row() -> None:
    elsewhere = [place for row in ROWS for place in row.get("also", [])]
    assert elsewhere == [{"section": "7", "id": "S7-a.1"}, {"section": "5", "id": "S5-g.2"}]


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_a_row_has_its_fields(row: dict[str, Any]) -> None:
    prefix = row["id"].partition("-")[0]
    assert row["section"] == ("abstract" if prefix == "S0" else prefix.removeprefix("S"))
    assert set(row["kind"].split(",")) <= {"ARC", "SPD", "ERR", "FIG", "PROC", "HYP", "HW", "HIST"}
    allowed = {"A", "C10", "TIN", "I10", "I12", "I22K", "2D", "-", "C10 proxy", "TIN proxy"}
    assert row["needs"] and set(row["needs"]) <= allowed
    assert row["notebook"] in NOTEBOOKS
    assert row["claim"].endswith(".") and "\n" not in row["claim"]
    assert row["note"] == "" or row["note"].endswith(".")
    proof = PROOF[row["fate"]]
    known = {"id", "section", "claim", "kind", "needs", "notebook", "fate", "note"}
    assert (
        known | {proof}
        <= set(row)
        <= known
        | {proof, "computed", "beside", "caveat", "hedge", "also"}
        | ({"command"} if row["fate"] == "needs ImageNet" else set())
    )
    assert row[proof]
    if row["fate"] in ("not run", "no measure", "needs ImageNet"):
        assert len(row["reason"]) > 40 and row["reason"].endswith(".")


def test_arithmetic_claims_name_functions_and_every_function_is_named() -> None:
    functions = {
        name
        for name, each in vars(arithmetic).items()
        if inspect.isfunction(each)
        and each.__annotations__.get("return") == "Outcome"
        and not inspect.signature(each).parameters
    }
    decided = {row["function"] for row in ROWS if row["fate"] == "arithmetic"}
    beside = {row["computed"] for row in ROWS if "computed" in row}
    assert decided | beside == functions
    assert not decided & beside
    for name in functions:
        ids = [row["id"] for row in ROWS if name in (row.get("function"), row.get("computed"))]
        docstring = getattr(arithmetic, name).__doc__ or ""
        assert set(re.findall(r"S[0-9.]+-[a-z]", docstring)) == {base(claim) for claim in ids}, name


def test_the_errata_and_the_roundings_are_these() -> None:
    found = defaultdict(set)
    for row in ROWS:
        if row["fate"] == "arithmetic":
            found[getattr(arithmetic, row["function"])().status].add(row["id"])
    assert set(found) == {"exact", "erratum", "imprecise", "rounding"}
    assert found["erratum"] == {"S1-d.1", "S3.5-h"}
    assert found["imprecise"] == {"S2-a.2", "S4.1-b"}
    assert found["rounding"] == {"S0-c", "S0-d", "S2-a.1"}


MODULE_WITH_TESTS = """
def helper(): ...
def test_plain():
    def test_inner(): ...
# def test_in_a_comment(): ...
text = "def test_in_a_string(): ..."
class TestGroup:
    def test_method(self): ...
"""


@pytest.mark.parametrize(
    ("node", "exists"),
    [
        ("tests/test_x.py::test_plain", True),
        ("tests/test_x.py::TestGroup::test_method", True),
        ("tests/test_x.py::test_plain[3]", False),
        ("tests/test_x.py::test_plai", False),
        ("tests/test_x.py::test_method", False),
        ("tests/test_x.py::TestGroup::test_plain", False),
        ("tests/test_x.py::TestOther::test_method", False),
        ("tests/test_x.py::test_inner", False),
        ("tests/test_x.py::test_in_a_comment", False),
        ("tests/test_x.py::test_in_a_string", False),
        ("tests/test_x.py::helper", False),
        ("tests/test_x.py::TestGroup", False),
        ("tests/test_x.py", False),
        ("tests/test_y.py::test_plain", False),
        ("tests/other.py::test_plain", False),  # not a file that pytest looks into
    ],
)
def test_a_name_without_a_test_is_noticed(node: str, exists: bool, tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    for file in ("test_x.py", "other.py"):
        (tmp_path / "tests" / file).write_text(MODULE_WITH_TESTS)
    assert node_exists(node, tmp_path) == exists


def test_every_named_test_exists() -> None:
    named = [(row["id"], node) for row in ROWS for node in row.get("test", [])]
    assert len(named) > 20 and len(set(named)) == len(named)
    assert [(claim, node) for claim, node in named if not node_exists(node)] == []


def test_only_procedures_settings_and_architecture_are_implemented() -> None:
    """A claim about an error, a speed or a picture is measured or not; no unit test makes it true."""
    for row in ROWS:
        if row["fate"] in ("implemented", "shown"):
            assert set(row["kind"].split(",")) <= {"ARC", "PROC", "HYP"}, row["id"]


COMMAND = re.compile(r"paperlib train full (?:'([^']+)'|(\S+)) --scale ilsvrc2012 --data DIR")


def test_claims_that_need_imagenet_name_a_command_and_a_data_set() -> None:
    arms = set()
    for row in ROWS:
        if row["fate"] == "needs ImageNet":
            found = COMMAND.fullmatch(row["command"])
            assert found, row["id"]
            arms.add(found[1] or found[2])
            assert re.match(r"DIR holds ILSVRC-20(10|12)\b", row["reason"]), row["id"]
            year = "I10" if "ILSVRC-2010" in row["reason"].split(".")[0] else "I12"
            assert year in row["needs"] or row["needs"] == ["I22K"], row["id"]
    declared = set(experiments_declared.get("full", "ilsvrc2012").arms)
    assert arms <= declared, f"to be declared: {arms - declared}"


def test_claims_that_need_ilsvrc_say_so_and_name_the_authors_run() -> None:
    logged = {"S0-b", "S3.2-c.2", "S3.3-c.2", "S3.4-b.2", "S6-a", "S6-b.2", "S6-d", "S6-f.2", "S6-i"}
    rows = {row["id"]: row for row in ROWS}
    for claim in logged:
        assert rows[claim]["fate"] == ("not run" if claim == "S6-i" else "needs ImageNet")
        assert re.search(r"#\d", rows[claim]["reason"]), claim
    ilsvrc = {"I10", "I12", "I22K"}
    for row in ROWS:
        if row["kind"] == "ERR" and set(row["needs"]) <= ilsvrc:
            assert row["fate"] in ("needs ImageNet", "cited") or row["id"] == "S6-i"


def pairs_in(value: Any) -> set[tuple[float, float]]:
    """All (top-1, top-5) pairs of the data."""
    found = set()
    if isinstance(value, tuple):
        for each in value:
            found |= pairs_in(each)
    if getattr(value, "top1", None) is not None and value.top5 is not None:
        found.add((value.top1, value.top5))
    return found


def test_every_pair_of_errors_in_the_text_is_in_the_data() -> None:
    known = pairs_in(tuple(value for name, value in vars(facts).items() if name.isupper()))
    seen = 0
    for row in ROWS:
        text = " ".join(str(row[key]) for key in ("reason", "source", "note") if key in row)
        for a, b in re.findall(r"(\d+\.\d+) / (\d+\.\d+)", text):
            digits = len(a.partition(".")[2]), len(b.partition(".")[2])
            rounded = {(round(x, digits[0]), round(y, digits[1])) for x, y in known}
            assert (float(a), float(b)) in rounded, (row["id"], a, b)
            seen += 1
    assert seen > 20


def test_every_run_in_the_text_is_in_the_data() -> None:
    without_numbers = {"99", "109", "127", "132", "133"}  # comments of the notes, no error rate in them
    nets = {log.net for log in facts.RUN_LOGS}
    for row in ROWS:
        text = " ".join(str(row[key]) for key in ("reason", "source", "note") if key in row)
        assert set(re.findall(r"#([\w-]*\w)", text)) <= nets | without_numbers, row["id"]


@pytest.mark.parametrize("file", ["paper/facts.py", "evidence/claims.toml", "paper/counted.py", "paper/published.py"])
def test_no_catalogue_number_is_printed(file: str) -> None:
    text = (ROOT / "paperlib" / file).read_text(encoding="utf-8")
    assert not re.search(r"\d{8,}", text)
    assert not re.search(r"\b(arXiv|arxiv|ISBN|doi)\b", text)


# --- the two readings ---------------------------------------------------------------------------------------

VALUES: dict[str, tuple[str, Any, Any]] = {
    "1": ("model.norm1_before_relu", False, True),
    "2": ("model.lrn_alpha", 1e-4, 2e-5),
    "3": ("model.lrn_across_towers", True, False),
    "4": ("model.spatial_norm", False, True),
    "5": ("model.init_std", 0.01, 0.03),
    "6": ("optim.bias_lr_factor", 1.0, 2.0),
    "6b": ("optim.bias_lr_drops", True, False),
    "7": ("optim.decay_biases", True, False),
    "8": ("optim.freeze_conv1", (), (67, 72)),
    "9": ("optim.drops", "plateau", (25, 51, 79)),
    "10": ("augment.colour_scale", "eigenvalue", "std"),
    "11": ("augment.colour_shrink", False, True),
    "12": ("augment.colour_off_epoch", None, 67),
    "13": ("augment.offsets", 32, 33),
    "14": ("augment.share", 1, 32),
    "15": ("augment.mean", "place", "centre"),
    "16": ("augment.shuffle", True, False),
    "17": ("model.dropout_form", "2012", "2012"),
}
"""Reading -> field, its value in the paper and in the authors' code."""


def test_the_readings_are_numbered_and_name_fields_of_a_recipe() -> None:
    assert {r.number: r.field for r in facts.READINGS} == {n: v[0] for n, v in VALUES.items()} | {
        "18": None,
        "19": None,
    }
    assert {name for name, *_ in VALUES.values()} <= set(field_names())


@pytest.mark.parametrize("reading", facts.READINGS, ids=lambda reading: reading.number)
def test_recipes_agree_with_the_readings(reading: facts.Reading) -> None:
    assert reading.paper and reading.source and reading.file
    assert reading.agrees == (reading.number in {"17", "18", "19"})
    if reading.field is not None:
        field, mine, theirs = VALUES[reading.number]
        assert (value_of(Recipe.paper(), field), value_of(Recipe.source2012(), field)) == (mine, theirs)


# --- constants against the recipe, and the tables against the notes -----------------------------------------


def test_the_recipe_of_the_paper_has_the_papers_numbers() -> None:
    recipe, sizes = Recipe.paper(), Sizes()
    model, optim, augment = recipe.model, recipe.optim, recipe.augment
    assert (model.lrn_k, model.lrn_n, model.lrn_alpha, model.lrn_beta) == (2, 5, 1e-4, 0.75)
    assert facts.Lrn(model.lrn_k, model.lrn_n, model.lrn_alpha, model.lrn_beta) == facts.LRN
    assert facts.OPTIMISER.momentum == optim.momentum == 0.9
    assert facts.OPTIMISER.weight_decay == optim.weight_decay == 5e-4
    assert facts.OPTIMISER.batch_size == optim.batch_size == 128
    assert facts.OPTIMISER.lr == optim.lr == 0.01
    assert facts.OPTIMISER.lr_drops == optim.max_drops == 3
    assert facts.OPTIMISER.init_std == model.init_std == 0.01
    assert facts.DROPOUT == model.dropout == 0.5
    assert facts.COLOUR_STD == augment.colour == 0.1
    assert 2 * augment.offsets**2 == facts.AUGMENTATION_FACTOR == 2048
    assert tuple(conv.kernels for conv in facts.CONVS) == sizes.kernels == (96, 256, 384, 384, 256)
    assert tuple(conv.size for conv in facts.CONVS) == sizes.kernel_sizes == (11, 5, 3, 3, 3)
    assert tuple(conv.stride for conv in facts.CONVS) == sizes.strides
    assert tuple(conv.pad for conv in facts.CONVS) == sizes.pads
    assert (sizes.fc, sizes.fc, sizes.classes) == facts.FC
    assert (sizes.side, sizes.crop, sizes.channels) == (facts.STORED_SIDE, facts.INPUT_SIDE, facts.INPUT_CHANNELS)


NOTED = {  # fractions, as the comment lines have them
    ("145-2010", 10): (0.374727, 0.169987),
    ("145-2010", 1): (0.390247, 0.182953),
    ("145", 10): (0.406640, 0.182100),
    ("145-restarted", 10): (0.402500, 0.179940),
    ("145-half", 10): (0.391680, 0.182287),
    ("148", 10): (0.420340, 0.193620),
    ("147", 10): (0.410580, 0.185100),
    ("146-2012-2011", 10): (0.389900, 0.166220),
    ("150", None): (0.4183, 0.1933),
    ("166", None): (0.4110, 0.1867),
    ("167", None): (0.4049, 0.1812),
    ("169", None): (0.4060, 0.1811),
    ("170", 1): (0.4234, 0.1958),
    ("170", 10): (0.4053, 0.1805),
    ("131-2009", None): (0.6942, 0.4373),
    ("2009-101", None): (0.6938, 0.4365),
}


@pytest.mark.parametrize(("net", "views"), NOTED)
def test_run_logs_have_the_digits_of_the_notes(net: str, views: int | None) -> None:
    log = facts.run_log(net, views=views)
    assert (log.top1, log.top5) == pytest.approx(tuple(100 * each for each in NOTED[net, views]), abs=1e-9)


def test_schedules_of_the_run_logs() -> None:
    drops = {log.net: (log.drops, log.epochs) for log in facts.RUN_LOGS if log.drops}
    assert drops["145"] == ((25, 51, 79), 91)
    assert drops["145-2010"] == ((23, 51, 78), 93)
    assert drops["147"] == ((23, 51, 79), 90)
    assert drops["148"] == ((22, 44, 86), 97)
    assert drops["145"][0] == Recipe.source2012().optim.drops
    for net, (epochs, stop) in drops.items():
        assert list(epochs) == sorted(epochs) and stop is not None and epochs[-1] < stop, net


def test_an_unknown_run_is_refused() -> None:
    with pytest.raises(LookupError, match="#145"):
        facts.run_log("145", facts.TEST10)
    with pytest.raises(LookupError, match="#1"):
        facts.run_log("1")


def test_the_contest_has_the_fractions_of_its_results_page() -> None:
    assert [entry.top5 / 100 for entry in facts.CONTEST_2012] == pytest.approx([0.15315, 0.16422, 0.26172])
    seven, five = facts.CONTEST_2012[:2]
    assert "-".join(five.members) == "131-137-145-135-145f" and len(seven.members) == 7
    assert len(set(five.members) & set(seven.members)) == 4


def test_the_sets_of_section_1() -> None:
    assert {each.name: each.images for each in facts.SMALL_SETS} == {
        "Caltech-256": 30_607,
        "CIFAR-10": 60_000 - 10_000,
        "MNIST": 70_000 - 10_000,
    }
    assert all(each.source and 10_000 <= each.images < 100_000 for each in facts.SMALL_SETS)  # "tens of thousands"
    assert facts.IMAGENET.images > 10 * max(year.train for year in facts.ILSVRC)
    later, categories = facts.IMAGENET_LATER  # below both statements, as the note of S1-b says
    assert 0.9 * facts.IMAGENET.images < later < facts.IMAGENET.images
    assert 0.9 * facts.IMAGENET_CATEGORIES < categories < facts.IMAGENET_CATEGORIES


def test_published_tables() -> None:
    columns = ("val_top1", "val_top5", "test_top1", "test_top5")
    rows = [tuple(getattr(row, column) for column in columns) for row in (*facts.TABLE1, *facts.TABLE2)]
    assert rows == [
        (None, None, 47.1, 28.2),
        (None, None, 45.7, 25.7),
        (None, None, 37.5, 17.0),
        (None, None, None, 26.2),
        (40.7, 18.2, None, None),
        (38.1, 16.4, None, 16.4),
        (39.0, 16.6, None, None),
        (36.7, 15.4, None, 15.3),
    ]
    assert {row.claim for row in (*facts.TABLE1, *facts.TABLE2)} <= set(BASE_IDS)


def test_every_error_rate_is_a_per_cent_with_top_5_below_top_1() -> None:
    known = pairs_in((facts.RUN_LOGS, facts.REPRODUCTIONS, facts.VGG_LRN, facts.ZEILER_FERGUS))
    assert len(known) > 25
    assert all(1 < top5 < top1 < 100 for top1, top5 in known)


ACCURACIES = {  # as the sources give them
    "Caffe, bvlc_alexnet": (57.1, 80.2),
    "Caffe, CaffeNet": (57.4, 80.4),
    "torchvision": (56.522, 79.066),
    "jiecaoyu/pytorch_imagenet": (57.494, 80.588),
    "neon": (56.0, 79.3),
    "HolmesShuan": (60.43, 82.47),
}


@pytest.mark.parametrize("who", ACCURACIES)
def test_reproductions_that_report_accuracy_are_turned_into_errors(who: str) -> None:
    found = next(each for each in facts.REPRODUCTIONS if each.who == who)
    assert (found.top1, found.top5) == pytest.approx(tuple(100 - each for each in ACCURACIES[who]))


def test_later_comparisons() -> None:
    assert [(each.top1, each.top5) for each in facts.VGG_LRN] == [(29.6, 10.4), (29.7, 10.5)]
    removed = [(each.top1, each.top5) for each in facts.ZEILER_FERGUS]
    assert removed == [(40.5, 18.1), (45.4, 22.1), (40.0, 18.4), (44.8, 22.4), (71.3, 50.1)]
    assert all(each.source and each.differences for each in facts.REPRODUCTIONS)
