"""Make golden.json: what PyTorch finds for the loss and the gradient of some records.

pip install -e '.[peers]' && python tests/peers/make_golden.py
"""

import datetime
import json
import pathlib
import sys
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

import numpy as np
import torch

from peers import golden, maml, rl2, test_torch, test_torch_rl2


def found(loss: Any, gradient: Any) -> dict[str, Any]:
    return {"loss": {"": float(loss)}, "gradient": {name: x.tolist() for name, x in gradient.items()}}


def of_maml(case: str) -> dict[str, Any]:
    phi, seen = maml.lived(case)
    inputs = {"phi": golden.short(phi), "seen": golden.short(seen, maml.READS)}
    return inputs | found(*test_torch.in_torch(*given(inputs, maml.shapes(case))))


def of_rl2(case: str) -> dict[str, Any]:
    _, params, record = rl2.lived(case)
    inputs = {"params": golden.short(params), "record": golden.short(record, rl2.READS)}
    loss, gradient = test_torch_rl2.in_torch(case, "library", *given(inputs, rl2.shapes(case)))
    return inputs | found(loss, gradient._asdict())


def given(inputs: dict[str, Any], like: tuple[Any, Any]) -> list[Any]:
    """The inputs as they are read back."""
    arrays = [{name: np.array(x) for name, x in leaves.items()} for leaves in inputs.values()]
    return [golden.restored(*pair) for pair in zip(like, arrays, strict=True)]


if __name__ == "__main__":
    numbers = {
        "maml": {case: of_maml(case) for case in maml.CASES},
        "rl2": {case: of_rl2(case) for case in rl2.WORLDS},
    }
    made = {"torch": torch.__version__, "date": datetime.date.today().isoformat()}
    golden.PATH.write_text(json.dumps(numbers | made, separators=(",", ":")).replace('},"', '},\n"') + "\n")
