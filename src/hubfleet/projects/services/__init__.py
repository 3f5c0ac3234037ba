"""Project `services`: containers that belong together, such as an API with its workers, a queue and a database."""

from hubfleet.projects.services.project import Services

__all__ = ["Services"]
