"""Compiles the GPU's kernels with NVRTC, for several cards and in both precisions, on a machine that needs no card.

usage: nvrtc.py DIR [--capabilities 80,89,90,100]
DIR is a folder that holds libnvrtc.so.N somewhere below it, such as the unpacked wheel nvidia-cuda-nvrtc (it is a zip archive).
Prints a line per compilation, and for the first the registers and the memory of every kernel. Fails at the first mistake.
"""
import argparse
import ctypes
import re
import struct
import sys
from pathlib import Path

CRATE = Path(__file__).resolve().parents[2] / "crates/lora-gpu"


def load(folder):
    """NVRTC, with the library that it asks for by name loaded before it."""
    found = sorted(Path(folder).rglob("libnvrtc.so.*"), key=lambda path: len(path.name))
    if not found:
        sys.exit(f"error: there is no libnvrtc.so below {folder}\n"
                 "hint: pip download --no-deps nvidia-cuda-nvrtc -d DIR, and unzip it there")
    for needed in sorted(found[0].parent.glob("libnvrtc-builtins.so.*")):
        ctypes.CDLL(str(needed), mode=ctypes.RTLD_GLOBAL)
    return ctypes.CDLL(str(found[0]), mode=ctypes.RTLD_GLOBAL)


def kernels():
    """The source as src/kernels.rs joins it, and the names that it lists: of all kernels, and of those of bfloat16 alone."""
    listed = (CRATE / "src/kernels.rs").read_text()
    files = re.findall(r'^\s*"(\w+\.cu)",?$', listed, re.M)
    of_both, of_bf16 = listed.split("BF16_NAMES")
    names = re.findall(r'^\s*"(\w+)",?$', of_both, re.M)
    bf16 = re.findall(r'"(\w+)"', of_bf16)
    assert files and names, "src/kernels.rs lists no files or no names"
    source = "".join(f'#line 1 "{file}"\n' + (CRATE / "kernels" / file).read_text() for file in files)
    return source.encode(), names, bf16


class Compiler:
    def __init__(self, library):
        self.library = library
        library.nvrtcGetErrorString.restype = ctypes.c_char_p

    def call(self, name, *arguments):
        code = getattr(self.library, name)(*arguments)
        if code:
            raise RuntimeError(f"{name}: {self.library.nvrtcGetErrorString(code).decode()}")

    def result(self, what, program):
        size = ctypes.c_size_t()
        self.call(f"nvrtcGet{what}Size", program, ctypes.byref(size))
        text = ctypes.create_string_buffer(size.value)
        self.call(f"nvrtcGet{what}", program, text)
        return text.raw

    def compile(self, source, options):
        """The cubin, or NVRTC's log as an error."""
        program = ctypes.c_void_p()
        self.call("nvrtcCreateProgram", ctypes.byref(program), source, b"kernels.cu", 0, None, None)
        try:
            given = (ctypes.c_char_p * len(options))(*[option.encode() for option in options])
            self.call("nvrtcCompileProgram", program, len(options), given)
            return self.result("CUBIN", program)
        except RuntimeError as error:
            log = self.result("ProgramLog", program).rstrip(b"\0").decode()
            raise RuntimeError(f"{error}\n{log}") from None
        finally:
            self.library.nvrtcDestroyProgram(ctypes.byref(program))


def sections(cubin):
    """Name -> (where its bytes begin, how many) of the sections of an ELF file of 64 bits."""
    at, = struct.unpack_from("<Q", cubin, 0x28)
    size, count, names = struct.unpack_from("<HHH", cubin, 0x3A)
    headers = [struct.unpack_from("<IIQQQQ", cubin, at + size * i) for i in range(count)]
    strings = headers[names][4]
    return {text_at(cubin, strings + header[0]): header[4:] for header in headers}


def text_at(cubin, start):
    return cubin[start:cubin.index(b"\0", start)].decode()


def per_kernel(cubin, found, attribute):
    """Kernel -> value of an attribute in `.nv.info`: a format, a number and a length, then a symbol and the value."""
    symbols, _ = found[".symtab"]
    strings, _ = found[".strtab"]
    at, length = found[".nv.info"]
    end, values = at + length, {}
    while at < end:
        form, number, size = struct.unpack_from("<BBH", cubin, at)
        at += 4
        if form != 4:
            continue
        if number == attribute:
            symbol, value = struct.unpack_from("<II", cubin, at)
            name, = struct.unpack_from("<I", cubin, symbols + 24 * symbol)
            values[text_at(cubin, strings + name)] = value
        at += size
    return values


def show(cubin, found, names):
    registers = per_kernel(cubin, found, 0x2F)
    stacks = per_kernel(cubin, found, 0x11)
    for name in names:
        _, code = found[f".text.{name}"]
        _, shared = found.get(f".nv.shared.{name}", (0, 0))
        print(f"      {name:26} {registers.get(name, 0):4} registers {stacks.get(name, 0):5} bytes of stack"
              f" {shared:6} shared {code:6} of code")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--capabilities", default="80,89,90,100")
    args = parser.parse_args()
    compiler = Compiler(load(args.folder))
    major, minor = ctypes.c_int(), ctypes.c_int()
    compiler.call("nvrtcVersion", ctypes.byref(major), ctypes.byref(minor))
    source, names, bf16 = kernels()
    print(f"NVRTC {major.value}.{minor.value}, {len(names + bf16)} kernels")
    shown = False
    for capability in args.capabilities.split(","):
        for precision, define in (("bf16", []), ("f32", ["-DACT_F32"])):
            options = [f"--gpu-architecture=sm_{capability}", "--std=c++17", "--fmad=true", *define]
            try:
                cubin = compiler.compile(source, options)
            except RuntimeError as error:
                sys.exit(f"error: sm_{capability} {precision}: {error}")
            found = sections(cubin)
            here = names if define else names + bf16
            missing = [name for name in here if f".text.{name}" not in found]
            if missing:
                sys.exit(f"error: sm_{capability} {precision}: no kernel is called {', '.join(missing)}")
            print(f"ok  sm_{capability:4} {precision:4}  {len(cubin):8} bytes", flush=True)
            if not shown:
                show(cubin, found, here)
                shown = True


main()
