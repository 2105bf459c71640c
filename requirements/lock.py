"""Writes the lock files: exact versions with hashes, without the address of any package index.

    python requirements/lock.py

`all.lock` is resolved first; the smaller ones are held to its versions.
"""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
UV = Path(sys.executable).parent / "uv"
COMPILE = [
    str(UV),
    "pip",
    "compile",
    "--quiet",
    "--universal",
    "--python-version",
    "3.11",
    "--generate-hashes",
    "--no-header",
    "--no-annotate",
    "--no-emit-index-url",
]
EXTRAS = ["kafka", "train", "parquet"]
GROUPS = ["test", "check", "ops-test"]


def compile_lock(name: str, *sources: str) -> None:
    subprocess.run([*COMPILE, *sources, "--output-file", str(HERE / name)], cwd=HERE.parent, check=True)
    text = (HERE / name).read_text()
    if "://" in text:
        sys.exit(f"{name} names an address; locks must not")
    print(name, sum(line[0].isalnum() for line in text.splitlines()), "packages")


def main() -> None:
    extras = [f"--extra={extra}" for extra in EXTRAS]
    groups = [f"--group={group}" for group in GROUPS]
    compile_lock("all.lock", "pyproject.toml", *extras, *groups)
    held = ["--constraint", str(HERE / "all.lock")]
    compile_lock("demo.lock", "pyproject.toml", "--extra=kafka", *held)
    compile_lock("serve.lock", "pyproject.toml", *held)
    compile_lock("peers.lock", "--group=peers")  # an environment of its own
    compile_lock("fuzz.lock", "--group=pyproject.toml:fuzz", *held)
    (HERE / "bootstrap.in").write_text("uv\n")
    compile_lock("bootstrap.lock", str(HERE / "bootstrap.in"))
    (HERE / "bootstrap.in").unlink()


if __name__ == "__main__":
    main()
