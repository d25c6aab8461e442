"""Training: from an experiment file to a run directory that everything else reads."""

from nsc_deploy.training.torchvision_beside_cpu_torch import declare_missing_operators

declare_missing_operators()
