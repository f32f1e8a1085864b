"""The GPU farm where there is no GPU: waves, errors, the interpreter, the compiler for sm_90."""

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from physgen.simulators import Ising2D
from physgen.simulators.ising_cuda import CudaFarm, check_device, lanes_for, waves
from physgen.simulators.lattice import cubic, square, triangular
from physgen.simulators.spin_model import SpinModel

LATTICES = [
    square((4, 6)),
    square((2, 2)),
    square((5, 7)),
    square((5, 4), "open"),
    triangular((6, 9)),
    triangular((4, 5)),
    cubic((3, 4, 5)),
]
no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")


# ---------------------------------------------------------------- order of a sweep


@pytest.mark.parametrize("lattice", LATTICES, ids=lambda lattice: str(lattice.shape))
def test_neighbors_move_in_the_order_of_the_lattice(lattice):
    found = waves(lattice)
    np.testing.assert_array_equal(np.sort(np.concatenate(found)), np.arange(lattice.n_sites))
    wave, rank = np.empty((2, lattice.n_sites), dtype=int)
    for k, sites in enumerate(found):
        wave[sites] = k
    rank[lattice.order] = np.arange(lattice.n_sites)
    for column in lattice.neighbors.T:
        own = column == np.arange(lattice.n_sites)
        assert ((wave[column] < wave) == (rank[column] < rank))[~own].all()
        assert (wave[column] != wave)[~own].all()


def test_waves_are_few():
    assert len(waves(square((64, 64)))) == len(waves(square((33, 65), "open"))) == 2
    assert len(waves(triangular((48, 48)))) == 3
    assert len(waves(square((33, 33)))) == len(waves(square((65, 65)))) < 8


# ---------------------------------------------------------------- errors


@no_gpu
def test_a_missing_device_is_named():
    with pytest.raises(RuntimeError, match="no CUDA device was found; use device='cpu'"):
        Ising2D(8, device="cuda")


@pytest.mark.parametrize("algorithm", ["wolff", "swendsen_wang", "parallel_tempering"])
def test_algorithms_of_the_cpu_alone_are_named(algorithm):
    with pytest.raises(ValueError, match=f"{algorithm}.*there are 'metropolis' and 'heat_bath'"):
        Ising2D(8, algorithm=algorithm, device="cuda")


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "cpu:0", "cuda:-1", "mps"])
def test_unknown_devices_are_refused(device):
    with pytest.raises(ValueError, match="device must be 'cpu', 'cuda'"):
        Ising2D(8, device=device)


def test_a_device_beyond_the_last_and_a_missing_or_older_triton(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(RuntimeError, match="there are 2"):
        check_device("cuda:2")
    older = SimpleNamespace(language=SimpleNamespace(), __version__="3.2.0")
    monkeypatch.setitem(sys.modules, "triton", older)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: older)
    with pytest.raises(ImportError, match=r"newer Triton than 3\.2\.0: upgrade torch"):
        check_device("cuda:1")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ImportError, match="needs Triton"):
        check_device("cuda:1")


@pytest.mark.parametrize("n_lanes", [0, 96, 1 << 24])
def test_a_number_of_lattices_that_does_not_fit_is_refused(n_lanes):
    pytest.importorskip("triton")
    beta = np.broadcast_to(0.4, n_lanes)
    with pytest.raises(ValueError, match=f"multiple of 64 of at most 8388608, got {n_lanes}"):
        CudaFarm(SpinModel(square((4, 4))), beta, "metropolis", beta[:, None], 1)


def test_a_farm_has_a_power_of_two_of_lattices_and_is_bounded_in_memory():
    for n_sites in (4, 1000, 4096, 10**5, 10**7):
        n_lanes = lanes_for(n_sites)
        assert n_lanes >= 64
        assert n_lanes & (n_lanes - 1) == 0
        assert n_lanes == 64 or n_lanes * n_sites <= 1 << 26


def test_the_simulator_does_not_import_triton():
    code = (
        "import sys; from physgen.simulators.ising import Ising2D; import physgen.simulators."
        "ising_cuda; Ising2D(4); print('triton' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]


# ---------------------------------------------------------------- kernels


def test_the_logic_under_the_interpreter():
    """A process of its own: the interpreter must be chosen before Triton is imported."""
    needed_triton()
    suite = Path(__file__).with_name("ising_cuda_suite.py")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(suite)],
        env={**os.environ, "TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


WORDS = {"words": "*i32", "neighbors": "*i32"}
KERNELS = {
    "move": (
        dict.fromkeys(("sites", "group", "planes"), "*i32")
        | {"key": "*i64", "sweep": "i32", "n_wave": "i32", "n_words": "i32"},
        {"N_NEIGHBORS": 4, "N_CLASSES": 2, "WIDTH": 32, "RUN": 4},
        1,
    ),
    "count": (
        {"ordered": "*i32", "counts": "*i32", "n_sites": "i32", "n_words": "i32"},
        {"N_NEIGHBORS": 4, "WIDTH": 8, "RUN": 64},
        4,
    ),
    "unpack": (
        {"spins": "*i8", "n_sites": "i32", "n_words": "i32"},
        {"WIDTH": 8, "RUN": 128},
        4,
    ),
}


@pytest.mark.parametrize("name", KERNELS)
def test_kernels_compile_for_hopper(name):
    kernel = compiled(name)
    assert ".target sm_90" in kernel.asm["ptx"]
    assert kernel.asm["cubin"]
    if name == "move":
        # a warp asks its threads in one instruction, and reads four bits of p in one
        assert kernel.metadata.shared == 0
        assert "redux.sync" in kernel.asm["ptx"]
        assert "bar.sync" not in kernel.asm["ptx"]
        assert "ld.global.v4.b32" in kernel.asm["ptx"]


def test_registers_suffice_and_leave_room_for_32_warps_per_multiprocessor(tmp_path):
    triton = pytest.importorskip("triton")
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    if not tool.exists():
        pytest.skip("this Triton brings no cuobjdump")
    cubin = tmp_path / "move.cubin"
    cubin.write_bytes(compiled("move").asm["cubin"])
    done = subprocess.run(
        [tool, "--dump-resource-usage", cubin], capture_output=True, text=True, check=True
    )
    usage = {k: int(v) for k, v in re.findall(r"(REG|STACK|LOCAL):(\d+)", done.stdout)}
    # what does not fit into registers would be on the stack
    assert usage["STACK"] == usage["LOCAL"] == 0
    assert 0 < usage["REG"] <= 64


def needed_triton():
    triton = pytest.importorskip("triton")
    if not hasattr(triton.language, "to_tensor"):
        pytest.skip(f"the kernels need a newer Triton than {triton.__version__}")
    return triton


def compiled(name):
    triton = needed_triton()
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from physgen.simulators import ising_cuda_kernels

    if os.environ.get("TRITON_INTERPRET") == "1":
        pytest.skip("Triton is in its interpreter")
    arguments, constants, num_warps = KERNELS[name]
    kernel = getattr(ising_cuda_kernels, name)
    pointers = {k: v for k, v in WORDS.items() if k in kernel.arg_names}
    signature = pointers | arguments | dict.fromkeys(constants, "constexpr")
    # tensors lie at multiples of 16 bytes, and so do rows of words
    aligned = [k for k, v in signature.items() if v[0] == "*" or k == "n_words"]
    attributes = {(kernel.arg_names.index(k),): [["tt.divisibility", 16]] for k in aligned}
    options = {"num_warps": num_warps, "enable_fp_fusion": False}
    try:
        return triton.compile(
            ASTSource(kernel, signature, constants, attributes),
            target=GPUTarget("cuda", 90, 32),
            options=options,
        )
    except RuntimeError as error:
        pytest.skip(f"this Triton has no compiler for NVIDIA: {error}")
