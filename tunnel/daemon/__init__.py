"""The only place where the parts meet: ports, clock, pipeline, service."""
