"""The masked-diffusion transformer: network, layouts, noise, losses, samplers, published weights."""
