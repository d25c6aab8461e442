"""What every manifest says about the graph it was made from."""

from nsc_deploy.deployment import read_deployment
from nsc_deploy.exporters.manifest import Source
from nsc_deploy.exporters.registry import ExportRequest
from nsc_deploy.graphs.network import Network
from nsc_deploy.io.files import sha256


def class_names(request: ExportRequest) -> tuple[str, ...]:
    """Names of the classes, where the graph is a part of a training run."""
    return () if request.run is None else read_deployment(request.run).class_names


def source_of(request: ExportRequest) -> Source:
    """The graph a deployment is made from."""
    return Source(
        path=str(request.graph_file),
        sha256=sha256(request.graph_file),
        part=request.part,
        class_names=class_names(request),
    )


def readout_of(network: Network) -> tuple[int | None, int | None]:
    """How a decision is read from the output: classes and outputs a class, None where the graph is silent."""
    metadata = network.output_node.parameters.metadata
    return _whole(metadata.get("classes")), _whole(metadata.get("group"))


def _whole(value: object) -> int | None:
    return None if value is None else int(str(value))
