"""Files of a report read by other programs. tools_test.py WHAT SAMPLE_OUT SOURCE_DIR; WHAT: csv, latex, pandas, h5py, r, schema.
The snippets are the code blocks of docs/reports.md, run as they stand. Exit code 77: the program is not here."""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

PYTHON = "/usr/bin/python3"  # Debian's packages belong to it


def skip(reason):
    print("skipped: " + reason)
    sys.exit(77)


def run(words, **options):
    done = subprocess.run(words, capture_output=True, text=True, **options)
    print(done.stdout[-3000:], done.stderr[-3000:])
    return done


def need_python(*modules):
    if not os.path.exists(PYTHON) or run([PYTHON, "-c", "import " + ", ".join(modules)]).returncode != 0:
        skip("need Debian's python3-" + ", python3-".join(m for m in modules))


def snippet(source, title, language):
    """The code block below the heading that holds `title`."""
    text = (source / "docs" / "reports.md").read_text()
    at = text.index("### " + title)
    return re.search(rf"```{language}\n(.*?)```", text[at:], re.S).group(1)


def work_folder(out):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="aqlm-exp-tools-"))
    (folder / "out").symlink_to(out.resolve())
    return folder


def csv(out, source):
    need_python("pandas")
    code = """
import pandas as pd
t = pd.read_csv('out/report/summary.csv')
assert len(t) == 10, len(t)
assert t['trial_id'].str.len().eq(64).all()
for column in ['bits_per_weight [bits]', 'ppl', 'kl [nats/token]', 'difference [nats/token]', 'repeat']:
    assert pd.api.types.is_numeric_dtype(t[column]), (column, t[column].dtype)
assert t['method'].dtype == object
assert t.loc[t.status == 'failed', 'ppl'].isna().all()
assert t['name'].str.startswith("'=HYPERLINK").sum() == 1, t['name'].tolist()
assert not t['name'].str.startswith('=').any()
l = pd.read_csv('out/report/layers.csv')
assert len(l) == 8 * 4 and pd.api.types.is_numeric_dtype(l['rel_weight_error']), len(l)
print('ok', t.shape, l.shape)
"""
    return run([PYTHON, "-c", code], cwd=work_folder(out)).returncode


def latex(out, source):
    if shutil.which("pdflatex") is None or run(["kpsewhich", "booktabs.sty"]).returncode != 0:
        skip("need pdflatex and booktabs (Debian: texlive-latex-recommended)")
    folder = work_folder(out)
    (folder / "paper.tex").write_text("\\documentclass{article}\n\\usepackage[T1]{fontenc}\n\\usepackage{booktabs}\n"
                                      "\\begin{document}\n\\input{out/report/table.tex}\n\\end{document}\n")
    done = run(["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "paper.tex"], cwd=folder)
    return 0 if done.returncode == 0 and (folder / "paper.pdf").stat().st_size > 5000 else 1


def pandas(out, source):
    need_python("pandas", "tables")
    return run([PYTHON, "-c", snippet(source, "pandas", "python")], cwd=work_folder(out)).returncode


def h5py(out, source):
    need_python("h5py")
    return run([PYTHON, "-c", snippet(source, "h5py", "python")], cwd=work_folder(out)).returncode


def sqlite(out, source):
    return run([sys.executable, "-c", snippet(source, "SQLite", "python")], cwd=work_folder(out)).returncode


def r(out, source):
    if shutil.which("Rscript") is None or run(["Rscript", "-e", "library(hdf5r)"]).returncode != 0:
        skip("need R with hdf5r (Debian: r-cran-hdf5r)")
    return run(["Rscript", "-e", snippet(source, "R", "r")], cwd=work_folder(out)).returncode


def schema(out, source):
    need_python("jsonschema")
    code = f"""
import json, jsonschema
schema = json.load(open({str(source / 'docs' / 'report.schema.json')!r}))
jsonschema.validate(json.load(open('out/report/report.json')), schema)
broken = json.load(open('out/report/report.json'))
del broken['groups'][0]['budgets']
try:
    jsonschema.validate(broken, schema)
except jsonschema.ValidationError:
    print('ok')
else:
    raise SystemExit('a report without budgets passed')
"""
    return run([PYTHON, "-c", code], cwd=work_folder(out)).returncode


if __name__ == "__main__":
    what, out, source = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
    if not (out / "report" / "report.html").exists():
        sys.exit(f"{out}: no sample report")
    sys.exit({"csv": csv, "latex": latex, "pandas": pandas, "h5py": h5py, "sqlite": sqlite, "r": r, "schema": schema}[what](out, source))
