"""Two networks: one of a new name, one that bears the name of a built-in network and claims one as an alias."""

from __future__ import annotations

from zoo_registry import InputSpec, ModelSpec, hookimpl


def _spec(name: str, aliases: dict[str, str | None]) -> ModelSpec:
    return ModelSpec(
        name=name,
        builder="zoo_tinynet.model:build",
        pipeline="zoo_vision.pipeline:image_pipeline",
        input=InputSpec(modality="image", size=(3, 32, 32), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
        requires=("torch",),
        family="tinynet",
        dim=16,
        layouts=("pooled", "tokens", "grid"),
        aliases=aliases,
        license="apache-2.0",
        summary="Two convolutions.",
    )


@hookimpl
def zoo_models() -> list[ModelSpec]:
    return [
        _spec("tiniest", {"wee": None}),
        _spec("resnet50", {"efficientnet_lite0": None, "vit_base_patch16_224": None}),
    ]
