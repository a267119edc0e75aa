"""`edgeexit serve`: the stages of a bundle behind the Open Inference Protocol (V2) over HTTP, for those who run no Triton.

uvicorn speaks HTTP and ends without losing what is under way, Starlette routes; here is what is left: the few routes of the protocol.

messages    a request's bytes to tensors, sizes checked, and answers to bytes
engines     the stages, with engines for as many requests at a time as there are workers
routes      the routes of the protocol
process     the process: socket, TLS, signals
"""
