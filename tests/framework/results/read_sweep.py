# Reads a merged sweep as users would; exit 77 when a package is missing. Arguments: sweep.h5
import math
import sys
import warnings

try:
    import h5py
    import pandas
    import tables
except ImportError as error:
    print(error)
    sys.exit(77)
warnings.simplefilter("error", tables.DataTypeWarning)

path = sys.argv[1]
frame = pandas.read_hdf(path, "summary/table")
assert len(frame) == 5, frame
assert list(frame["ppl"][:3]) == [10.0, 11.0, 12.0], frame["ppl"]
assert math.isnan(frame["ppl"][3]), "a failed trial has no perplexity"
assert list(frame["status"]) == ["completed"] * 3 + ["failed", "planned"], frame["status"]
assert list(frame["param_quant_nbits"]) == [0, 1, 2, 3, 4], frame["param_quant_nbits"]
assert frame["name"][0] == "method=aqlm, größe=2x7 «0»", frame["name"][0]
assert frame["label_method"][0] == "aqlm"

with h5py.File(path) as file:
    assert file.attrs["format"] == "aqlm-exp-sweep" and file.attrs["format_version"] == 1
    columns = file["summary/columns"]
    assert list(columns["status"].asstr()[:]) == list(frame["status"])
    assert len(file["trials"]) == 3
    trial = file["trials"][frame["id16"][0]]
    assert trial.attrs["status"] == "completed"
    assert trial["metrics/ppl"][()] == 10.0 and trial["metrics/ppl"].attrs["direction"] == "min"
    assert trial["metrics/ppl"].attrs["n"] == 7
    assert trial["config/yaml"].asstr()[()].startswith("quant:")
    assert list(trial["layers/rows"].asstr()[:]) == ["block 0", "block 1"]
    assert list(trial["layers/columns"].asstr()[:]) == ["q_proj", "k_proj", "v_proj"]
    assert trial["layers/matrix/mse"].shape == (2, 3) and trial["layers/matrix/mse"][1, 0] == 4
    assert trial["layers/matrix/mse"].attrs["dims"] == "row,column"
    assert trial["config/origin"][1]["file"].decode() == "configs/method/äöü.yaml"
    assert trial["provenance/git/commit"].asstr()[()] == "abc"
    assert file["sweep/failures"][0]["class"] == b"numerical" and file["sweep/failures"][0]["exit"] == 22
    assert file["sweep/failures"][0]["log_tail"] == b"one\ntwo"
    fields = {row["name"].decode(): row for row in file["summary/fields"][:]}
    assert fields["ppl"]["direction"] == b"min" and fields["decode_tokens_per_s"]["deterministic"] == 0
    assert file["sweep/plan"].asstr()[()].startswith("{")

with tables.open_file(path) as file:
    table = file.get_node("/summary/table")
    assert isinstance(table, tables.Table) and table.nrows == 5
    assert [row["ppl"] for row in table.where("ppl > 10.5")] == [11.0, 12.0]
print("ok")
