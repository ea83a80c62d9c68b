"""Image-text backbones from open_clip, pairs of any two backbones, and what is learnt from pairs."""
