"""Other people's checkpoints: read without torch and without running anything that the file says.

`read` opens a file of StyleGAN2, StyleGAN3, FastGAN or one of their relatives, whatever container it lies in, and
returns the generator's tensors under canonical keys. What a pickle names is never imported and never called: known
names stand for constructors written here, all others become inert placeholders.

What `Foreign.options` holds, by family:

- stylegan2: `architecture` (skip, orig, resnet), `conv_clamp` (number or None), `lr_multiplier` of the mapping,
  `resample` (taps of the FIR filter), `use_noise`, `c_dim` (classes, 0 for none), `label`: how a class enters the
  mapping. None; `embed`: a layer, normalised apart from z; `concat`: a layer without bias, normalised together with z;
  `table`: a row of mapping.embed through mapping.embed_proj.
- stylegan3: `config` (T, R), `layer_names` in order, `output_scale`, `lr_multiplier`, `c_dim`, `label`; and, if the file
  keeps them, `layers` (one dictionary each, in order) and `input` (`size` [w, h], `sampling_rate`, `bandwidth`).
- projected: `resolution`, `lite`, `cond`, `c_dim`. fastgan: `resolution`.
- lucidrains: `image_size`, `lr_multiplier`, `transparent`, `no_const`, `attn_layers` (blocks with attention, from 0).
- lightweight: `image_size`, `transparent`, `greyscale`, `freq_chan_attn`, `attn_layers` (layers with attention, from 0),
  `attn_res_layers` (their sizes as the settings say, or None).

Thread: any.
"""

from performer.generators.foreign.foreign import Foreign, ForeignError, read

__all__ = ["Foreign", "ForeignError", "read"]
