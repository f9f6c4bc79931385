"""Neural collapse in a Hugging Face training: callbacks=[ncrun.transformers.CollapseCallback("classifier")]."""

from typing import Any

try:
    from transformers import TrainerCallback
except ImportError as error:
    raise ImportError("ncrun.transformers needs transformers: pip install 'ncrun[integrations]'") from error

from ncrun.meter.callback import Watching


class CollapseCallback(Watching, TrainerCallback):
    """Measures before the first epoch, after every `every` epochs and after the last.

    layer: the model's last linear layer, as `ncrun.watch` takes it. loader: the samples to measure; default: the
    trainer's training data, each sample once and in order, each process its part. Further arguments are those of
    `watch`; the default loss is "ce". The numbers go into the trainer's `log_history` as PREFIX + column; `rows` has
    all columns, `last` the newest Measurement. Raises UserError as `watch` does.
    """

    def __init__(
        self, layer: Any, *, loader: Any = None, every: int = 1, prefix: str = "collapse_", **stated: Any
    ) -> None:
        super().__init__(layer, loader=loader, every=every, prefix=prefix, **{"loss": "ce", **stated})

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        self.begin(given["model"], given["train_dataloader"], args.process_index, args.world_size)
        self._log(state)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        if self.step():
            self._log(state)

    def on_train_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        if self.end():
            self._log(state)

    def _log(self, state: Any) -> None:
        state.log_history.append({"epoch": self.rows[-1]["epoch"], "step": state.global_step, **self.numbers()})
