"""Neural collapse in a Lightning training: `Trainer(callbacks=[ncrun.lightning.CollapseCallback("model.fc")])`."""

from typing import Any

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
except ImportError as error:
    raise ImportError("ncrun.lightning needs Lightning: pip install 'ncrun[integrations]'") from error

from ncrun.meter.callback import Watching


class CollapseCallback(Watching, Callback):
    """Measures before the first epoch, after every `every` epochs and after the last.

    layer: the module's last linear layer, as `ncrun.watch` takes it. loader: the samples to measure; default: the
    trainer's training data, each sample once and in order, each rank its part. Further arguments are those of `watch`.
    Numbers are logged as PREFIX + column, so that other callbacks can monitor them; `rows` has all columns, `last` the
    newest Measurement. Raises UserError as `watch` does.
    """

    def __init__(
        self, layer: Any, *, loader: Any = None, every: int = 1, prefix: str = "collapse/", **stated: Any
    ) -> None:
        super().__init__(layer, loader=loader, every=every, prefix=prefix, **stated)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.begin(pl_module, trainer.train_dataloader, trainer.global_rank, trainer.world_size)
        self._to_loggers(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.step():
            pl_module.log_dict(self.numbers())  # the same on every rank

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.end():
            self._to_loggers(trainer)

    def _to_loggers(self, trainer: Trainer) -> None:
        """In this hook Lightning lets a callback log only like this."""
        for logger in trainer.loggers:
            logger.log_metrics(self.numbers(), trainer.global_step)
