"""Everything that the paper profile runs obeys a GPU's rules, shown without one: devices are never mixed."""

import nbformat
import pytest
import torch
from gpu import OnGPU, pretended
from IPython.core.inputtransformer2 import TransformerManager
from matplotlib import pyplot
from torch import nn

from bdlib.attacks import ATTACKS
from bdlib.experiments import notebooks, victims
from bdlib.experiments import run as experiments
from bdlib.experiments.notebooks import NOTEBOOKS

pytestmark = [
    pytest.mark.filterwarnings("ignore::bdlib.evaluation.metrics.PremiseWarning"),  # a smoke run's attack is weak
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # matplotlib, given tensors
    pytest.mark.filterwarnings("ignore:Data has no positive values:UserWarning"),  # nor is there much to draw
]


@pytest.fixture(scope="module", autouse=True)
def apart(tmp_path_factory):
    """These victims are trained in bfloat16: nobody else's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(victims, "CACHE", tmp_path_factory.mktemp("cache"))
        yield


def test_the_pretended_gpu_refuses_what_a_real_one_refuses():
    with pretended():
        on_gpu, on_cpu = torch.arange(6.0).to("cuda"), torch.arange(6.0)
        assert on_gpu.is_cuda and on_gpu[torch.tensor([5])].item() == 5  # indices may be on the CPU
        generator = torch.Generator().manual_seed(0)
        for mixing in (
            lambda: on_gpu + on_cpu,
            lambda: on_cpu[on_gpu > 2],
            lambda: torch.where(on_gpu > 2, on_cpu, on_gpu),
            lambda: on_gpu.__setitem__(slice(0, 6), on_cpu),
            lambda: torch.rand(3, generator=generator, device="cuda"),
            lambda: torch.empty(3, device="cuda").uniform_(generator=generator),
        ):
            with pytest.raises(RuntimeError, match="expected"):
                mixing()
        with pytest.raises((RuntimeError, TypeError)):
            on_gpu.numpy()
        assert (on_gpu + 1).cpu().numpy().sum() == 21 and torch.rand(3, generator=generator).shape == (3,)


def test_the_pretended_gpu_trains_in_half_precision_as_the_cpu_does_in_single():
    def trained(device):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
        net, images = net.to(device), torch.rand(64, 3, 8, 8).to(device)
        labels, optimizer = (images.mean((1, 2, 3)) > 0.5).long(), torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
        for _ in range(5):
            optimizer.zero_grad()
            with torch.autocast("cuda", torch.bfloat16, enabled=device == "cuda"):
                outputs = net(images)
                loss = nn.functional.cross_entropy(outputs, labels)
            loss.backward()
            optimizer.step()
        return loss.item(), outputs.dtype, isinstance(net[0].weight, OnGPU)

    with pretended():
        half, single = trained("cuda"), trained("cpu")
    assert half[0] == pytest.approx(single[0], abs=0.02) and half[0] != single[0]
    assert half[1:] == (torch.bfloat16, True) and single[1:] == (torch.float32, False)


@pytest.mark.parametrize("paper", notebooks.papers())
def test_every_chapter_runs_on_a_gpu(paper):
    """Its victim, its defence, what it measures and what it draws, at smoke scale."""
    namespace, as_python = {}, TransformerManager().transform_cell
    with pretended():
        for cell in nbformat.read(NOTEBOOKS / f"{paper}.ipynb", as_version=4).cells:
            if cell.cell_type == "code":
                exec(compile(as_python(cell.source), f"{paper}.ipynb", "exec"), namespace)
            if "parameters" in cell.metadata.get("tags", []):
                namespace |= notebooks.parameters(paper, "smoke")
    pyplot.close("all")


TRAINS = [key for key, attack in ATTACKS.items() if attack.training_controlled or attack.fixed_trigger(1) is None]


@pytest.mark.parametrize("attack", [key for key in TRAINS if key != "ssba"])  # which the gallery has trained
def test_every_attack_that_trains_something_runs_on_a_gpu(attack):
    with pretended():
        record = experiments.run("attacks", notebooks.parameters("attacks", "smoke") | {"attack": attack})
    assert record.runtime["device"] == "pretended" and 0 <= record.after.asr <= 1
