"""The networks of a training, with fresh weights."""

from omegaconf import DictConfig

from codec.models import Codec, build_model
from codec.models.discriminator import Discriminator


def build_codec(cfg: DictConfig) -> Codec:
    """The codec. Raises UserError as build_model does."""
    arguments = {key: value for key, value in cfg.model.items() if key not in ("name", "lmbda")}
    return build_model(cfg.model.name, **arguments, **({} if cfg.levels is None else {"levels": cfg.levels.count}))


def build_discriminator(cfg: DictConfig) -> Discriminator | None:
    """What the codec is trained against; None where it is against nothing."""
    return None if cfg.adversarial is None else Discriminator(cfg.model.M, cfg.adversarial.width)
