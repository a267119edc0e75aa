"""Later stages on another machine: this one answers what it is sure of, the rest goes up by the Open Inference Protocol (V2).

protocol    tensors to a request and back, sizes checked; nothing is ever unpickled
endpoint    one HTTP request that ends in time, whatever the network does; grpc_endpoint: one over gRPC
opening     one of both, by a URL
limits      how often a request may go up, and when a server counts as gone
stages      the stages of a bundle, the last ones asked of a server
runner      the Runner that sends later stages up and falls back on its own last exit
"""
