"""Small generators with random weights, as dictionaries of canonical keys, for the writers of containers."""

import numpy as np

W = 6
Z = 5
CHANNELS = {4: 5, 8: 4, 16: 3}


def numbers(seed: int):
    rng = np.random.default_rng(seed)
    return lambda *shape: np.asarray(rng.standard_normal(shape), np.float32)


def stylegan2(
    *,
    seed: int = 1,
    architecture: str = "skip",
    const: tuple[int, int] = (4, 4),
    c_dim: int = 0,
    label: str | None = None,
    noise: bool = True,
    image_channels: int = 3,
) -> dict[str, np.ndarray]:
    """A StyleGAN2 of three blocks."""
    draw = numbers(seed)
    label = label or ("embed" if c_dim else None)
    tensors = {"mapping.w_avg": draw(c_dim, W) if label == "table" else draw(W)}
    if label == "table":
        tensors["mapping.embed.weight"] = draw(c_dim, 7)
        tensors["mapping.embed_proj.weight"], tensors["mapping.embed_proj.bias"] = draw(W, 7), draw(W)
    elif label:
        tensors["mapping.embed.weight"] = draw(W, c_dim)
        if label == "embed":
            tensors["mapping.embed.bias"] = draw(W)
    tensors["mapping.fc0.weight"] = draw(W, Z + (W if label else 0)) * 100
    tensors["mapping.fc1.weight"] = draw(W, W) * 100
    tensors["mapping.fc0.bias"], tensors["mapping.fc1.bias"] = draw(W), draw(W)
    tensors["synthesis.b4.const"] = draw(CHANNELS[4], *const)
    before = None
    for level, (block, channels) in enumerate(CHANNELS.items()):
        prefix = f"synthesis.b{block}"
        layers = [("conv1", channels)] if before is None else [("conv0", before), ("conv1", channels)]
        for name, inputs in layers:
            tensors[f"{prefix}.{name}.weight"] = draw(channels, inputs, 3, 3)
            tensors[f"{prefix}.{name}.bias"] = draw(channels)
            tensors[f"{prefix}.{name}.affine.weight"] = draw(inputs, W)
            tensors[f"{prefix}.{name}.affine.bias"] = draw(inputs)
            if noise:
                tensors[f"{prefix}.{name}.noise_strength"] = draw()
                tensors[f"{prefix}.{name}.noise_const"] = draw(const[0] << level, const[1] << level)
        if architecture == "resnet" and before:
            tensors[f"{prefix}.skip.weight"] = draw(channels, before, 1, 1)
        if architecture == "skip" or block == max(CHANNELS):
            tensors[f"{prefix}.torgb.weight"] = draw(image_channels, channels, 1, 1)
            tensors[f"{prefix}.torgb.bias"] = draw(image_channels)
            tensors[f"{prefix}.torgb.affine.weight"] = draw(channels, W)
            tensors[f"{prefix}.torgb.affine.bias"] = draw(channels)
        before = channels
    return tensors


def with_filters(tensors: dict[str, np.ndarray], taps: tuple = (1, 3, 3, 1)) -> dict[str, np.ndarray]:
    """The same with the filter buffers that NVIDIA's networks carry."""
    kernel = np.outer(taps, taps).astype(np.float32)
    kernel /= kernel.sum()
    extra = {}
    for block in CHANNELS:
        extra[f"synthesis.b{block}.resample_filter"] = kernel
        for layer in ("conv0", "conv1"):
            if f"synthesis.b{block}.{layer}.weight" in tensors:
                extra[f"synthesis.b{block}.{layer}.resample_filter"] = kernel
    return tensors | extra


LAYERS3 = {  # a StyleGAN3 of three layers: inputs, outputs, kernel
    "L0_36_4": (4, 4, 3),
    "L1_52_3": (4, 3, 3),
    "L10_32_3": (3, 3, 1),
}


def stylegan3(
    *, seed: int = 3, config: str = "T", c_dim: int = 0, label: str | None = None
) -> tuple[dict[str, np.ndarray], dict[str, dict]]:
    """Tensors and saved attributes; the names of the layers sort otherwise as text."""
    draw = numbers(seed)
    label = label or ("embed" if c_dim else None)
    tensors = {key: value for key, value in stylegan2(seed=seed, c_dim=c_dim, label=label).items() if "mapping" in key}
    tensors["synthesis.input.weight"] = draw(4, 4)
    tensors["synthesis.input.transform"] = np.eye(3, dtype=np.float32)
    tensors["synthesis.input.freqs"], tensors["synthesis.input.phases"] = draw(4, 2), draw(4)
    tensors["synthesis.input.affine.weight"], tensors["synthesis.input.affine.bias"] = draw(4, W), draw(4)
    attributes: dict[str, dict] = {
        "synthesis": {"output_scale": 0.25, "layer_names": list(LAYERS3), "num_ws": 4},
        "synthesis.input": {"size": np.array([36, 36]), "sampling_rate": 16.0, "bandwidth": np.float64(2.0)},
    }
    for name, (inputs, outputs, kernel) in LAYERS3.items():
        torgb = name == list(LAYERS3)[-1]
        kernel = 1 if config == "R" else kernel
        layer = f"synthesis.{name}"
        tensors[f"{layer}.weight"], tensors[f"{layer}.bias"] = draw(outputs, inputs, kernel, kernel), draw(outputs)
        tensors[f"{layer}.magnitude_ema"] = np.abs(draw())
        tensors[f"{layer}.affine.weight"], tensors[f"{layer}.affine.bias"] = draw(inputs, W), draw(inputs)
        if not torgb:
            tensors[f"{layer}.up_filter"] = draw(12)
            tensors[f"{layer}.down_filter"] = draw(12, 12) if config == "R" else draw(12)
        attributes[layer] = {
            "is_torgb": torgb,
            "conv_kernel": kernel,
            "up_factor": 1 if torgb else 2,
            "down_factor": 1 if torgb else 2,
            "padding": [0, 0, 0, 0] if torgb else [9, 8, -11, -12],
            "in_size": np.array([36, 36]),
            "out_size": np.array([52, 36]),
            "conv_clamp": 256,
            "in_sampling_rate": 16,
            "out_half_width": np.float64(6.5),
        }
    return tensors, attributes


def spectral(draw, key: str, *shape: int, transposed: bool = False) -> dict[str, np.ndarray]:
    """A weight with spectral norm apart."""
    rows, columns = (shape[1], shape[0] * shape[2] * shape[3]) if transposed else (shape[0], int(np.prod(shape[1:])))
    return {
        f"{key}.weight_orig": draw(*shape),
        f"{key}.weight_u": draw(rows),
        f"{key}.weight_v": draw(columns),
    }


def batch_norm(draw, key: str, size: int) -> dict[str, np.ndarray]:
    return {
        f"{key}.weight": draw(size),
        f"{key}.bias": draw(size),
        f"{key}.running_mean": draw(size),
        f"{key}.running_var": np.abs(draw(size)),
        f"{key}.num_batches_tracked": np.array(7, np.int64),
    }


def fastgan(*, seed: int = 5, big: bool = True) -> dict[str, np.ndarray]:
    """The first blocks of a FastGAN, in the order of a state dict."""
    draw = numbers(seed)
    tensors = spectral(draw, "init.init.0", 8, 8, 2, 2, transposed=True)  # square: only its name tells its axes
    tensors |= batch_norm(draw, "init.init.1", 8)
    for size in (8, 16):
        tensors |= spectral(draw, f"feat_{size}.1", 8, 4, 3, 3)
        tensors |= {f"feat_{size}.2.weight": draw(1)} | batch_norm(draw, f"feat_{size}.3", 8)
        if big:
            tensors |= spectral(draw, f"feat_{size}.5", 8, 4, 3, 3) | batch_norm(draw, f"feat_{size}.7", 8)
    return tensors | spectral(draw, "to_big", 3, 4, 3, 3)


def folded(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What reading must give: W / (u^T W v), by loops over the axes rather than by reshaping."""
    result = {}
    for key, value in tensors.items():
        layer, _, name = key.rpartition(".")
        if name == "weight_orig":
            wide = value.astype(np.float64)
            u, v = tensors[f"{layer}.weight_u"].astype(float), tensors[f"{layer}.weight_v"].astype(float)
            norm = 0.0
            for at in np.ndindex(wide.shape):
                row, column = (at[1], (at[0], *at[2:])) if layer.endswith("init.init.0") else (at[0], at[1:])
                widths = (wide.shape[0], *wide.shape[2:]) if layer.endswith("init.init.0") else wide.shape[1:]
                norm += u[row] * wide[at] * v[np.ravel_multi_index(column, widths)]
            result[f"{layer}.weight"] = wide / norm
        elif name not in ("weight_u", "weight_v", "num_batches_tracked"):
            result[key] = value
    return result


def lucidrains(*, seed: int = 7, parts: tuple[str, str] = ("GE", "SE")) -> dict[str, np.ndarray]:
    """lucidrains' stylegan2 of two blocks, 8 px."""
    draw, (generator, style) = numbers(seed), parts
    tensors = {f"{generator}.initial_block": draw(1, 6, 4, 4), f"{generator}.initial_conv.weight": draw(6, 6, 3, 3)}
    tensors[f"{generator}.initial_conv.bias"] = draw(6)
    for layer in (0, 2):
        tensors[f"{style}.net.{layer}.weight"], tensors[f"{style}.net.{layer}.bias"] = draw(W, W), draw(W)
    for block, (inputs, outputs) in enumerate([(6, 6), (6, 4)]):
        prefix = f"{generator}.blocks.{block}"
        tensors[f"{prefix}.conv1.weight"] = draw(outputs, inputs, 3, 3)
        tensors[f"{prefix}.conv2.weight"] = draw(outputs, outputs, 3, 3)
        for name, rows in (("to_style1", inputs), ("to_style2", outputs), ("to_rgb.to_style", outputs)):
            tensors[f"{prefix}.{name}.weight"], tensors[f"{prefix}.{name}.bias"] = draw(rows, W), draw(rows)
        for name in ("to_noise1", "to_noise2"):
            tensors[f"{prefix}.{name}.weight"], tensors[f"{prefix}.{name}.bias"] = draw(outputs, 1), draw(outputs)
        tensors[f"{prefix}.to_rgb.conv.weight"] = draw(4, outputs, 1, 1)
    return tensors


def lightweight(*, seed: int = 9, part: str = "GE") -> dict[str, np.ndarray]:
    """lucidrains' lightweight GAN of two layers, 16 px."""
    draw = numbers(seed)
    tensors = {"initial_conv.0.weight": draw(5, 6, 4, 4), "initial_conv.0.bias": draw(6)}
    tensors |= batch_norm(draw, "initial_conv.1", 6)
    for layer in range(2):
        tensors |= {f"layers.{layer}.0.0.net.0.weight": draw(8, 3, 1, 1), f"layers.{layer}.0.0.net.0.bias": draw(8)}
        tensors |= {f"layers.{layer}.0.2.1.weight": draw(6, 3, 4, 4), f"layers.{layer}.0.2.1.bias": draw(6)}
        tensors |= batch_norm(draw, f"layers.{layer}.0.4", 6)
    tensors |= {"layers.1.2.net.0.weight": draw(3, 3, 1, 1)}
    tensors |= {"out_conv.weight": draw(4, 3, 3, 3), "out_conv.bias": draw(4)}
    return {f"{part}.{key}": value for key, value in tensors.items()}


def other(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The raw generator beside an averaged one: the same shapes, other values."""
    return {key: (value + 1).astype(value.dtype) for key, value in tensors.items()}
