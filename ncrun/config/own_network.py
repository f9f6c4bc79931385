"""model=module: what is left out of a stranger's network is asked of itself, and what stands for it in a record."""

from dataclasses import dataclass, replace
from typing import Any

from ncrun.config.data_rules import Samples
from ncrun.config.schema import Settings
from ncrun.config.typed import Typed
from ncrun.data.request import DataRequest
from ncrun.models.own.spec import Module

OF_THE_HEAD = ("depth", "width", "bias", "relu")


@dataclass(frozen=True)
class OwnNetwork:
    """identity: what stands for model.path in a run's identity: content and class, not where the file lies. about: what
    the manifest says of it. head_widths: the inputs of each layer of its own head; None where ncrun's head is on it."""

    identity: str
    about: dict[str, Any]
    head_widths: tuple[int, ...] | None


def own_network(given: Settings, model: Module, samples: Samples, typed: Typed) -> tuple[Settings, OwnNetwork]:
    """With width and sign of the features filled in, and of its own head what there is to know.

    Only where one of these is left out the network is built, which takes torch and executes the user's file.
    Raises UserError for a file that is not there, for keys of the head that its own head leaves without effect, and for
    a network that does not put out features.
    """
    where = model.where
    digest = where.read().digest if where.file else None
    about: dict[str, Any] = {"path": model.path, "class": where.name, "args": dict(model.args), "sha256": digest}
    identity = f"{digest}:{where.name}" if digest is not None else str(model.path)
    head_widths = None
    if model.head_names:
        for key in OF_THE_HEAD:
            typed.refuse(f"head.{key}", f"model.head={','.join(model.head_names)} is the network's own")
    if model.width is None or model.feature_sign == "auto" or model.head_names:
        assert isinstance(samples.request, DataRequest)
        from ncrun.models.own.look import look  # torch, which theory needs only here

        found = look(model, samples.request.image_shape, samples.num_outputs)
        if model.feature_sign == "auto":
            about["said"] = f"the {found.width} features of {where.name} are {found.sign}, {found.how}"
        sign = found.sign if model.feature_sign == "auto" else model.feature_sign
        model = replace(model, width=found.width, feature_sign=sign)
        head_widths = found.head_widths
        if head_widths is not None:
            head = replace(given.head, depth=len(head_widths), width=None, bias=found.head_bias, relu=False)
            given = replace(given, head=head)
    return replace(given, model=model), OwnNetwork(identity, about, head_widths)
