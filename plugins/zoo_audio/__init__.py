"""Sound: torchaudio backbones, spectrogram networks, heads and objectives."""
