"""What data may look like: pydantic models and the YAML reader."""
