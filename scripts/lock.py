"""Pin every requirements/*.in to hashes, without recording where the files are downloaded from."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements"


def lock(inputs: list[Path], output: Path, *options: str) -> None:
    """Write `output`: exact versions and hashes of `inputs` and of what they need, for every platform."""
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.11"]
    command += [
        "--generate-hashes",
        "--no-emit-index-url",
        "--upgrade",
        "--custom-compile-command",
        "make lock",
        "--system-certs",
        *options,
    ]
    command += [str(path.relative_to(ROOT)) for path in inputs]
    command += ["--output-file", str(output.relative_to(ROOT))]
    print("locking", output.relative_to(ROOT))
    subprocess.run(command, check=True, cwd=ROOT)


def main() -> None:
    """Lock the development, demo and interop requirements."""
    lock([ROOT / "pyproject.toml", REQUIREMENTS / "dev.in"], REQUIREMENTS / "dev.txt", "--extra", "server")
    lock([REQUIREMENTS / "demo.in"], REQUIREMENTS / "demo.txt")
    for source in sorted((REQUIREMENTS / "interop").glob("p*-*.in")):
        lock([source], source.with_suffix(".txt"))


if __name__ == "__main__":
    main()
