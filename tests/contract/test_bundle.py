"""The bundle that ships with streamrec, and what is said of one that is damaged."""

import gzip
import json
import re
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest
from safetensors import numpy as safetensors

from streamrec.build import DEMO_BUNDLE
from streamrec.core.errors import UserError
from streamrec.serving.bundle import FILES, MANIFEST, Bundle, content_version, load_bundle, pack_items, read_manifest, write_file

MIB = 2**20


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DEMO_BUNDLE, tmp_path / "bundle"))


@pytest.fixture(scope="module")
def demo() -> Bundle:
    return load_bundle(DEMO_BUNDLE)


def refusal(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        load_bundle(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def forge(folder: Path, name: str, content: bytes) -> None:
    """Replaces a file and makes the manifest agree: what a checksum cannot find."""
    manifest = json.loads((folder / MANIFEST).read_bytes())
    manifest["files"][name] = msgspec.to_builtins(write_file(folder, name, content))
    files = {
        each: msgspec.convert(entry, type=type(read_manifest(DEMO_BUNDLE).files[name])) for each, entry in manifest["files"].items()
    }
    manifest["version"] = content_version(files)
    (folder / MANIFEST).write_text(json.dumps(manifest))


def edit(folder: Path, **fields: object) -> None:
    manifest = json.loads((folder / MANIFEST).read_bytes())
    (folder / MANIFEST).write_text(json.dumps(manifest | fields))


def test_the_demo_s_bundle_is_small_enough_to_ship() -> None:
    sizes = {path.name: path.stat().st_size for path in DEMO_BUNDLE.iterdir()}
    assert set(sizes) == {*FILES, MANIFEST}
    assert max(sizes.values()) < MIB
    assert sum(sizes.values()) <= 2.25 * MIB


def test_the_demo_s_bundle_names_no_place_of_the_machine_that_made_it() -> None:
    for path in DEMO_BUNDLE.iterdir():
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
        assert not [word for word in (b"/root", b"/work", b"/home", b"site-packages") if word in content], path.name


def test_the_demo_s_bundle_proposes_the_same_alone_and_in_a_batch(demo: Bundle) -> None:
    random = np.random.default_rng(0)
    ids = demo.vocabulary.item_ids
    histories = [[ids[item] for item in random.integers(0, len(ids), size)] for size in [1, 7, 8, 15, 16, 17, 31, 47, 50, 60]]
    for rung in demo.rungs():
        together = rung.propose(histories, 120)
        assert together == [rung.propose([history], 120)[0] for history in histories]
        assert {len(proposal.candidates) for proposal in together} == {120}


def test_the_demo_s_scorer_judges_what_each_rung_proposes(demo: Bundle) -> None:
    history = list(demo.vocabulary.item_ids[:5])
    for rung in demo.rungs():
        candidates = rung.propose([history], 20)[0].candidates
        judged = demo.scorer().judge(history, candidates)
        assert [each.item_id for each in judged] == [candidate.item_id for candidate in candidates]
        assert all(0 < each.relevance < 1 for each in judged)


def test_the_demo_s_transitions_know_what_often_came_after(demo: Bundle) -> None:
    log = demo.transitions
    most = max(demo.vocabulary.item_ids, key=log.interactions)
    assert log.interactions(most) > 50
    followers = [log.followed(most, by=item_id) for item_id in demo.vocabulary.item_ids]
    assert max(followers) >= 5
    assert sum(count > 0 for count in followers) == 48  # as many as were kept


def test_a_whole_copy_is_the_same_bundle(copy: Path, demo: Bundle) -> None:
    assert load_bundle(copy).version == demo.version
    assert len(load_bundle(copy).items) == 2231


@pytest.mark.parametrize("name", FILES)
def test_a_missing_a_shortened_and_a_changed_file_are_named(copy: Path, name: str) -> None:
    whole = (copy / name).read_bytes()
    (copy / name).write_bytes(whole[:-1])
    assert f"{copy / name}: has not the size" in refusal(copy)
    (copy / name).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert f"{copy / name}: was changed after training" in refusal(copy)
    (copy / name).unlink()
    assert f"{copy / name}: No such file" in refusal(copy)
    (copy / name).mkdir()
    assert str(copy / name) in refusal(copy)


def test_a_manifest_that_is_none_is_refused(copy: Path) -> None:
    edit(copy, schema_version=2)
    assert "not a manifest that this version reads" in refusal(copy)
    edit(copy, schema_version=1, version="0" * 12)
    assert "changed by hand" in refusal(copy)
    (copy / MANIFEST).write_text("{")
    assert "not a manifest" in refusal(copy)
    (copy / MANIFEST).unlink()
    assert "no bundle there" in refusal(copy)
    assert "no bundle there" in refusal(copy / "nowhere")


def test_a_manifest_cannot_have_other_files_read(copy: Path) -> None:
    manifest = json.loads((copy / MANIFEST).read_bytes())
    entry = manifest["files"].pop("scorer.json")
    for name in ("../scorer.json", "/etc/passwd"):
        edit(copy, files=manifest["files"] | {name: entry})
        assert "names other files" in refusal(copy)


def test_alien_content_behind_right_checksums_is_refused(copy: Path) -> None:
    counts = safetensors.load((copy / "counts.safetensors").read_bytes())
    for name, content in (
        ("vocabulary.json", b'["b","a"]'),
        ("vocabulary.json", b'["a","b"]'),
        ("items.jsonl.gz", b"not gzip"),
        ("items.jsonl.gz", gzip.compress(b'{"item_id":1}\n')),
        ("counts.safetensors", b"\x80\x04K\x01."),
        ("counts.safetensors", safetensors.save(counts | {"starts": np.zeros(0, np.int64)})),
        ("counts.safetensors", safetensors.save(counts | {"starts": np.zeros(len(counts["starts"]), "i1")})),
        ("scorer.json", b'{"generator":1}'),
    ):
        whole = (copy / name).read_bytes()
        forge(copy, name, content)
        assert "not a bundle of streamrec" in refusal(copy), name
        forge(copy, name, whole)
    forge(copy, "model.onnx", b"no graph")
    with pytest.raises(UserError, match=r"model\.onnx"):
        load_bundle(copy).generator()


def test_the_catalogue_is_packed_to_the_same_bytes_in_any_order(demo: Bundle) -> None:
    assert pack_items(dict(reversed(demo.items.items()))) == pack_items(demo.items)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "vocabulary.PKL", "scores.npy", "x.joblib"])
def test_a_bundle_with_a_file_that_can_run_code_is_refused_by_its_name(copy: Path, name: str) -> None:
    (copy / name).write_bytes(b"\x80\x04N.")
    assert repr(name) in refusal(copy)
    assert "can run code" in refusal(copy)


def test_a_manifest_that_names_a_pickle_or_a_way_out_is_refused(copy: Path) -> None:
    files = json.loads((copy / MANIFEST).read_bytes())["files"]
    edit(copy, files=files | {"model.pt": files["model.onnx"]})
    assert "'model.pt'" in refusal(copy)
    for way_out in ("../secret", "/etc/passwd", "a/../../x"):
        edit(copy, files=files | {way_out: files["model.onnx"]})
        assert "names other files than" in refusal(copy)


@pytest.mark.parametrize("name", ["model.onnx", "items.jsonl.gz"])
def test_a_link_that_leads_out_of_the_folder_is_refused(copy: Path, tmp_path: Path, name: str) -> None:
    outside = (copy / name).rename(tmp_path / "outside")
    (copy / name).symlink_to(outside)
    assert f"{name}: leads out of the bundle's folder" in refusal(copy)
    (copy / name).unlink()
    inside = copy / "inside"  # as Kubernetes lays out what it mounts
    inside.write_bytes(outside.read_bytes())
    (copy / name).symlink_to("inside")
    assert load_bundle(copy).version == load_bundle(DEMO_BUNDLE).version


def test_nothing_in_streamrec_can_load_a_pickle() -> None:
    """Ruff's S301 looks for the module; this, for what loads one in other ways."""
    source = Path(__file__).parents[2] / "streamrec"
    ways = r"import pickle|torch\.load|joblib|np\.load|allow_pickle|marshal|shelve|yaml\.load\(|(?<![\w.])(?:eval|exec)\("
    found = {(path.name, way) for path in source.rglob("*.py") for way in re.findall(ways, path.read_text())}
    assert found == {("bundle.py", "joblib")}, "whose name it refuses"
