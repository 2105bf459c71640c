"""One reader under atheris: ``python -m tests.fuzz.one READER [libFuzzer's options]``; with a file, that one input only."""

import sys

import atheris

with atheris.instrument_imports(include=["streamrec", "yaml", "tomllib", "csv"], enable_loader_override=False):
    from tests.fuzz.readers import READERS, attempt

reader = READERS[sys.argv.pop(1)]
attempt(reader, reader.seeds()[0])  # what it starts is not part of the first input's time
atheris.Setup(sys.argv, lambda data: attempt(reader, data))
atheris.Fuzz()
