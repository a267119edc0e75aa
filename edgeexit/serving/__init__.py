"""A bundle for model servers: `edgeexit serve-export`.

    export_triton(runner, "repository")                        a model repository of NVIDIA Triton
    export_kserve(runner, "kserve", storage_uri="s3://models") models and resources for KServe, cascades as an InferenceGraph

What runs in the server lies in `models/`, is copied as it is and needs no edgeexit there.
"""

from edgeexit.choices import SERVERS as SERVERS
from edgeexit.choices import STAGE_RUNTIMES as STAGE_RUNTIMES
from edgeexit.serving.kserve import export_kserve as export_kserve
from edgeexit.serving.model_config import Scheduling as Scheduling
from edgeexit.serving.triton import export_triton as export_triton
