"""From the sections of params.yaml to the values that samplers take."""

from mmada.model.image_sampling import ImageSampling
from mmada.model.text_sampling import TextSampling
from mmada.params_training import Sampling


def sampling_settings(section: Sampling) -> tuple[TextSampling, ImageSampling]:
    """How text and pictures are sampled. Raises ParamsError when tokens, steps and blocks do not divide evenly."""
    text = TextSampling(
        new_tokens=section.text_tokens,
        steps=section.text_steps,
        block=section.text_block,
        temperature=section.text_temperature,
        cache=section.cache,
        threshold=section.threshold,
    )
    image = ImageSampling(steps=section.image_steps, temperature=section.image_temperature, guidance=section.guidance)
    return text, image
