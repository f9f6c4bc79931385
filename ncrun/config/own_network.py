"""model=module: finds out what the user did not say about their network, and how a record identifies it."""

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
    """identity: replaces model.path in a run's identity by content and class, independent of the file's place. about:
    its entry in the manifest. head_widths: the inputs of each layer of its own head; None with ncrun's head."""

    identity: str
    about: dict[str, Any]
    head_widths: tuple[int, ...] | None


def own_network(given: Settings, model: Module, samples: Samples, typed: Typed) -> tuple[Settings, OwnNetwork]:
    """Fills in the features' width and sign, and the facts about its own head.

    The network is built only if one of these is not given; that needs torch and executes the user's file. Raises
    UserError for a missing file, for keys of ncrun's head when the network has its own, and for a network that does not
    return features.
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
        from ncrun.models.own.look import look  # torch, which theory imports only here

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
