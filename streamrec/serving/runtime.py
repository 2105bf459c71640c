"""The inference library, and its name in records: which library and which instructions decide an answer's last bits."""

import platform

import onnxruntime


def runtime_name() -> str:
    """The library, its version and the instruction set, such as ``onnxruntime 1.32.0 avx512``."""
    return f"onnxruntime {onnxruntime.__version__} {instruction_set()}"


def instruction_set() -> str:
    """The widest instructions of this processor that a kernel may choose; bits are promised only among equals."""
    try:
        from numpy._core._multiarray_umath import __cpu_features__ as has  # type: ignore[import-not-found]
    except ImportError:  # a private name of numpy's: without it the bare architecture has to do
        has = {}
    for feature, name in (("AVX512F", "avx512"), ("X86_V4", "avx512"), ("AVX2", "avx2"), ("AVX", "avx"), ("ASIMD", "neon")):
        if has.get(feature):
            return name
    return platform.machine()
