"""Fetches the scipy-openblas32 wheel for a platform with pip and unpacks it into a folder.

usage: unpack-openblas.py FOLDER SYSTEM PROCESSOR    (CMAKE_SYSTEM_NAME, CMAKE_SYSTEM_PROCESSOR)

Needs no root and installs nothing: the wheel is a zip archive. A Python without pip gets one from
`venv` in the same folder. Exits with 1 and a sentence where the wheel is not to be had.
"""

import pathlib
import subprocess
import sys
import tempfile
import zipfile

VERSION = "0.3.34.481.3"  # one version for every build, so that results do not change with the day
PLATFORMS = {
    ("Linux", "x86_64"): ["manylinux_2_28_x86_64", "manylinux_2_27_x86_64"],
    ("Linux", "aarch64"): ["manylinux_2_28_aarch64", "manylinux_2_27_aarch64"],
}


def pip_command(scratch: pathlib.Path) -> list[str]:
    """A pip that runs: this Python's, or that of a virtual environment made in `scratch`."""
    own = [sys.executable, "-m", "pip"]
    if subprocess.run([*own, "--version"], capture_output=True).returncode == 0:
        return own
    subprocess.run([sys.executable, "-m", "venv", str(scratch / "venv")], check=True, capture_output=True)
    return [str(scratch / "venv" / "bin" / "python"), "-m", "pip"]


def main() -> None:
    folder, system, processor = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    platforms = PLATFORMS.get((system, processor))
    if not platforms:
        sys.exit(f"scipy-openblas32 is not used on {system} {processor}")
    with tempfile.TemporaryDirectory() as scratch:
        tags = [word for tag in platforms for word in ("--platform", tag)]
        try:
            command = [*pip_command(pathlib.Path(scratch)), "download", "--quiet", "--no-deps", "--only-binary=:all:"]
            command += [*tags, "--dest", scratch, f"scipy-openblas32=={VERSION}"]
            subprocess.run(command, check=True, capture_output=True, text=True)
        except (subprocess.CalledProcessError, OSError) as error:
            sys.exit(f"pip could not fetch it ({getattr(error, 'stderr', None) or error})")
        wheel = next(pathlib.Path(scratch).glob("scipy_openblas32-*.whl"))
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)


main()
