"""Images to discrete codes and back: preprocessing, the MAGVIT-v2 network, fitting a small one, quality
facts."""
