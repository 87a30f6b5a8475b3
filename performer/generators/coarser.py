"""The same species at half the resolution, for machines that cannot hold the whole.

A StyleGAN2 with RGB skips sums a picture up, block by block, so that what stands there before the finest block is the
picture at half the size: Karras et al., "Analyzing and Improving the Image Quality of StyleGAN" (2020), section 4.1. Other
networks draw at their end only.

Thread: any. Imports no torch: a show whose engines are in the cache needs none.
"""

from dataclasses import replace

import msgspec

from performer.generators.checkpoint import Checkpoint


def coarser(checkpoint: Checkpoint) -> Checkpoint | None:
    """The species without its finest block; None where that draws no picture.

    Of the rows of ws, noise gains and blend it takes the first.
    """
    sizes = checkpoint.sizes
    blocks = sizes.num_ws // 2
    if checkpoint.family != "stylegan2" or checkpoint.options.get("architecture", "skip") != "skip" or blocks < 2:
        return None
    finest = f"synthesis.b{4 << (blocks - 1)}."
    num_ws = sizes.num_ws - 2
    return replace(
        checkpoint,
        tensors={key: tensor for key, tensor in checkpoint.tensors.items() if not key.startswith(finest)},
        sizes=msgspec.structs.replace(
            sizes,
            height_px=sizes.height_px // 2,
            width_px=sizes.width_px // 2,
            num_ws=num_ws,
            noise_layers=sizes.noise_layers - 2,
            coarse=min(sizes.coarse, num_ws),
            middle=min(sizes.middle, num_ws),
        ),
        content_hash=f"{checkpoint.content_hash} without {finest}",
    )
