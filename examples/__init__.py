"""Examples that run from a checkout: `make demo`, `make demo-hang`."""
