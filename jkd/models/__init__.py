"""Networks, by the names that RepDistiller gives them."""

from jkd.models.base import Outputs

__all__ = ["Outputs"]
