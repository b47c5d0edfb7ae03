"""Pictures in few bytes: a codec of latents, a synthesis and small networks; the DCT and other files beside it."""
