"""One step of training after the other: generator and critic, their optimisers, and the average that becomes the species.

Thread: whoever calls. Several processes compute what one would with the whole batch.
"""

import copy
import json
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
import torch.distributed as distributed
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor, nn

from performer.files import write_whole
from performer.flow import F32, U8
from performer.generators import light
from performer.generators.checkpoint import Checkpoint
from performer.training import augment, fresh, lite0
from performer.training.critic import Plain, Projected
from performer.training.draws import Draws
from performer.training.generator import Generator

BETAS, EPSILON = (0.0, 0.99), 1e-8  # of Adam, as in both papers
PENALTY_EVERY = 16  # steps, of R1: Karras et al. (2020), appendix B
SURE, SURE_IMAGES = 0.6, 100_000  # adaptive augmentation: the aim, and how many pictures p takes from 0 to 1
MIXED = 0.5  # of the pictures have two parents
HALF_LIFE = 10_000  # pictures, of the average
RAMP = 0.05  # ... and no more than this share of what has been seen, so that a young species is not its own past
NEAR = 0.3  # deviations between the latent of a picture and the one that it is drawn from
AHEAD = 4_000  # pictures that the critic learns from before the generator listens to it
ANCHORED = 2  # one in so many pictures is drawn near the latent of a real one, and held to it ...
ANCHOR = 0.4  # ... with this weight: a fifth of the critic's strength; more, and animals resemble each other
FULL_BATCH = 64  # of the published rate; smaller ones are noisier, and learn from the critic at a lower one
MOST_AUGMENTED = 0.95
AVERAGED_Z = 10_000  # latents whose mean w is the mean animal


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """How to train. All of it must stay the same for a run to be resumed."""

    critic: str = "projected"  # or "plain"
    batch: int = 16  # of all processes together
    rate: float = 0.002  # of both optimisers
    gamma: float = 1.0  # of R1; plain alone
    precision: str = "single"  # or "bfloat16"
    shown: int = 40_000  # pictures that are shown, before the critic is asked
    mirror: bool = True  # half of the pictures, left to right
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Crew:
    """The processes of a run."""

    rank: int = 0
    count: int = 1

    def part(self, batch: int) -> slice:
        """The pictures of a batch that are this process's."""
        share = batch // self.count
        return slice(self.rank * share, (self.rank + 1) * share)

    def meet(self) -> None:
        """Wait until all processes are here."""
        if self.count > 1:
            distributed.barrier()

    def average(self, tensors: Iterable[Tensor | None]) -> None:
        """Replace tensors by their means over all processes."""
        if self.count == 1:
            return
        there = [tensor for tensor in tensors if tensor is not None]
        joined = torch.cat([tensor.flatten() for tensor in there])
        distributed.all_reduce(joined)
        joined /= self.count
        for tensor, mean in zip(there, joined.split([t.numel() for t in there]), strict=True):
            tensor.copy_(mean.view_as(tensor))


class Teacher:
    """A species in training."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        method: Method,
        *,
        device: str = "cpu",
        crew: Crew = Crew(),
    ) -> None:
        """Raises Refused: the package of the projected critic is missing."""
        self.checkpoint, self.method, self.crew, self.device = checkpoint, method, crew, torch.device(device)
        self.step_number = 0
        self.probability = 0.0  # of adaptive augmentation
        torch.manual_seed(method.seed)
        self.generator = Generator(checkpoint).to(self.device)
        self.average = copy.deepcopy(self.generator).eval().requires_grad_(False)
        self.critic = self._critic().to(self.device)
        self._learning = [p for p in self.critic.parameters() if p.requires_grad]
        self._optimisers = {"generator": self._adam("generator"), "critic": self._adam("critic")}

    @property
    def seen(self) -> int:
        """Pictures so far."""
        return self.step_number * self.method.batch

    @property
    def eyes(self) -> lite0.Lite0 | None:
        """What the projected critic sees with."""
        return self.critic.eyes if isinstance(self.critic, Projected) else None

    def step(self, reals: U8, codes: F32) -> dict[str, Tensor]:
        """Learn from the pictures [share of the batch, R, R, 3] of this process; numbers to log, of this process.

        codes
            the latents of the pictures and of their mirror images, [share, 2, z_dim]; see `codes.py`.
        """
        method = self.method
        draws = Draws(
            method.seed,
            self.step_number,
            batch=method.batch,
            part=self.crew.part(method.batch),
            device=self.device,
        )
        real = lite0.signal(reals, self.device)
        code = torch.from_numpy(codes).to(self.device)
        turned = draws.uniform("mirror") < (0.5 if method.mirror else 0.0)
        real = torch.where(turned[:, None, None, None], real.flip(3), real)
        z = torch.where(turned[:, None], code[:, 1], code[:, 0])
        with torch.no_grad():
            for number, noise in enumerate(self.generator.noise_maps()):
                noise.copy_(draws.shared(f"noise {number}", *noise.shape))
        if self.seen >= method.shown:
            self._set_rate(method.rate * math.sqrt(min(method.batch / FULL_BATCH, 1.0)))
        teach = self._projected if method.critic == "projected" else self._plain
        log = self._shown(real, z, draws) if self.seen < method.shown else {}
        if self.seen >= method.shown - AHEAD:
            log |= teach(real, z, draws, alone=self.seen < method.shown)
        self.step_number += 1
        self._follow()
        return log

    def _shown(self, real: Tensor, z: Tensor, draws: Draws) -> dict[str, Tensor]:
        """Draw given pictures from given latents."""
        near = z + NEAR * draws.normal("near", z.shape[1])  # so that what lies between the latents is learnt too
        whole = torch.full((len(z),), self.checkpoint.sizes.num_ws, device=self.device)
        with self._cast():
            fake = self.generator(self.generator.ws(near, near, whole)).float()
            distance = self._unlike(fake, real, halvings=(0, 2, 4))
        return {"shown": self._learn("generator", distance)}

    def _projected(self, real: Tensor, z: Tensor, draws: Draws, *, alone: bool) -> dict[str, Tensor]:
        """Train the generator by the critic, and the critic; `alone`, the critic only."""
        assert isinstance(self.critic, Projected)
        log = {}
        with self._cast(), torch.set_grad_enabled(not alone):
            fake = self.generator(self._ws(z, draws)).float()
            features = self.critic.features(augment.light_touch(fake, draws, "fake"))
        if not alone:
            with self._cast(), self._critic_held():
                judged = self.critic.judge(features)
            log["generator"] = self._learn("generator", self._anchored(-_mean(judged), fake, real))
        with self._cast():
            # The critic looks at the same pictures as the generator did: what its eyes saw is used twice.
            of_fake = self.critic.judge([feature.detach() for feature in features])
            with torch.no_grad():
                features = self.critic.features(augment.light_touch(real, draws, "real"))
            of_real = self.critic.judge(features)
        loss = _mean([F.relu(1 - judged) for judged in of_real]) + _mean([F.relu(1 + judged) for judged in of_fake])
        log["critic"] = self._learn("critic", loss)
        return log | self._judged(of_real, of_fake)

    def _plain(self, real: Tensor, z: Tensor, draws: Draws, *, alone: bool) -> dict[str, Tensor]:
        """The same by pixels."""
        log = {}
        with self._cast(), torch.set_grad_enabled(not alone):
            fake = self.generator(self._ws(z, draws)).float()
        if not alone:
            with self._cast(), self._critic_held():
                judged = self.critic(augment.adaptive(fake, draws, "fake", self.probability))
            log["generator"] = self._learn("generator", self._anchored(F.softplus(-judged).mean(), fake, real))
        penalised = self.step_number % PENALTY_EVERY == 0
        real = real.detach().requires_grad_(penalised)
        with self._cast():
            of_fake = self.critic(augment.adaptive(fake.detach(), draws, "fake again", self.probability))
            of_real = self.critic(augment.adaptive(real, draws, "real", self.probability))
        loss = F.softplus(of_fake).mean() + F.softplus(-of_real).mean()
        if penalised:  # R1: Mescheder et al., "Which Training Methods for GANs do actually Converge?" (2018)
            slope = torch.autograd.grad(of_real.sum(), real, create_graph=True)[0]
            loss = loss + slope.square().sum(dim=(1, 2, 3)).mean() * (self.method.gamma / 2 * PENALTY_EVERY)
        log["critic"] = self._learn("critic", loss)
        log |= self._judged([of_real], [of_fake])
        sure = log["sure"].clone()
        self.crew.average([sure])
        self.probability += math.copysign(self.method.batch / SURE_IMAGES, float(sure) - SURE)
        self.probability = min(max(self.probability, 0.0), MOST_AUGMENTED)
        return log | {"augment": torch.tensor(self.probability, device=self.device)}

    def _ws(self, z: Tensor, draws: Draws) -> Tensor:  # [N, num_ws, w_dim]
        """Latents of a batch: a part near those of its pictures, the others anywhere, half of these of two parents."""
        sizes = self.checkpoint.sizes
        anywhere, other = draws.normal("z", sizes.z_dim), draws.normal("other z", sizes.z_dim)
        crossover = draws.whole("crossover", 1, sizes.num_ws)
        crossover = torch.where(draws.uniform("mixed") < MIXED, crossover, sizes.num_ws)
        anywhere[::ANCHORED] = z[::ANCHORED] + NEAR * anywhere[::ANCHORED]
        crossover[::ANCHORED] = sizes.num_ws
        return self.generator.ws(anywhere, other, crossover)

    def _anchored(self, loss: Tensor, fake: Tensor, real: Tensor) -> Tensor:
        """The loss, and how unlike its pictures are what was drawn near their latents.

        A critic alone is content with one good animal, and a generator that is taught by few pictures a step soon draws
        nothing else. This keeps every picture of the set in it; at full size pixels are left to the critic.
        """
        with self._cast():
            unlike = self._unlike(fake[::ANCHORED], real[::ANCHORED], halvings=(2, 4))
        return loss + ANCHOR * unlike

    def _unlike(self, fake: Tensor, real: Tensor, *, halvings: tuple[int, ...]) -> Tensor:
        """How far pictures are from others: by their colours after so many halvings, and by what eyes see in them."""
        distance = sum((_smaller(fake, 1 << by) - _smaller(real, 1 << by)).abs().mean() for by in halvings)
        if self.eyes is not None:
            with torch.no_grad():
                wanted = self.eyes(real)
            for seen, want in zip(self.eyes(fake), wanted, strict=True):
                distance = distance + (seen.float() - want.float()).abs().mean() / want.float().abs().mean()
        return torch.as_tensor(distance)

    @contextmanager
    def _critic_held(self) -> Iterator[None]:
        """For as long as this holds, gradients pass through the critic and do not reach it."""
        for parameter in self._learning:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in self._learning:
                parameter.requires_grad_(True)

    def _learn(self, who: str, loss: Tensor) -> Tensor:
        """A step of an optimiser; the loss."""
        optimiser = self._optimisers[who]
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.crew.average(p.grad for group in optimiser.param_groups for p in group["params"])
        optimiser.step()
        return loss.detach()

    def _set_rate(self, rate: float) -> None:
        for who, optimiser in self._optimisers.items():
            for group in optimiser.param_groups:
                group["lr"] = rate * self._lazily(who)

    @torch.no_grad()
    def _judged(self, of_real: list[Tensor], of_fake: list[Tensor]) -> dict[str, Tensor]:
        """What the critic thinks on average, and how much more often it takes real pictures for real than not, -1..1."""
        return {"real": _mean(of_real), "fake": _mean(of_fake), "sure": _mean([judged.sign() for judged in of_real])}

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the average a little towards the generator."""
        half_life = max(min(HALF_LIFE, RAMP * self.seen), 1e-8)
        kept = 0.5 ** (self.method.batch / half_life)
        for mean, now in zip(self.average.parameters(), self.generator.parameters(), strict=True):
            mean.lerp_(now, 1 - kept)

    def _cast(self):
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.method.precision == "bfloat16")

    def _critic(self) -> nn.Module:
        size_px = self.checkpoint.sizes.resolution
        if self.method.critic == "projected":
            return Projected(lite0.load(), size_px=size_px, seed=self.method.seed)
        is_light = self.checkpoint.family == light.NAME
        channels = fresh.channels_of(self.checkpoint.family, size_px=size_px)
        return Plain(size_px=size_px, channels=channels, shuffle=light.SHUFFLE if is_light else 1)

    def _adam(self, who: str) -> torch.optim.Adam:
        lazily = self._lazily(who)
        betas = (BETAS[0] ** lazily, BETAS[1] ** lazily)
        parameters = self.generator.parameters() if who == "generator" else self._learning
        return torch.optim.Adam(parameters, lr=self.method.rate * lazily, betas=betas, eps=EPSILON)

    def _lazily(self, who: str) -> float:
        """What rates are scaled by where a penalty comes every few steps only: Karras et al. (2020), appendix B."""
        penalised = who == "critic" and self.method.critic == "plain"
        return PENALTY_EVERY / (PENALTY_EVERY + 1) if penalised else 1.0

    # What it knows, to and from a file.

    @torch.no_grad()
    def species_tensors(self) -> dict[str, F32]:
        """The numbers of the species as it is now, its mean animal included."""
        z = np.random.default_rng(self.method.seed).standard_normal(
            (AVERAGED_Z, self.checkpoint.sizes.z_dim), np.float32
        )
        self.average.w_avg.copy_(self.average.mapping(torch.from_numpy(z).to(self.device)).mean(dim=0))
        return self.average.tensors()

    @torch.no_grad()
    def drawn(self, z: F32, *, psi: float) -> U8:  # [N, z_dim] -> [N, R, R, 3]
        """Pictures of the species as it is, after `species_tensors` has found its mean animal."""
        latents = self.average.truncated(torch.from_numpy(z).to(self.device), psi)
        pictures = torch.cat([self.average(few) for few in latents.split(8)])
        return (pictures * 127.5 + 128).clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()

    def save(self, path: Path) -> None:
        """Write everything that a run needs to go on. Raises OSError."""
        numbers = {"step": self.step_number, "probability": self.probability}
        # As bytes first: the library tells of a full disk in an exception of its own.
        write_whole(path, safetensors.torch.save(self.state(), metadata={"training": json.dumps(numbers)}))

    @torch.no_grad()
    def load(self, path: Path) -> None:
        """Go on from what `save` wrote. Raises SafetensorError, KeyError, OSError, and RuntimeError for other shapes."""
        with safe_open(path, framework="pt", device="cpu") as file:
            numbers = json.loads(file.metadata()["training"])
            for key, tensor in self.state().items():
                tensor.copy_(file.get_tensor(key))
        self.step_number, self.probability = numbers["step"], numbers["probability"]

    def state(self) -> dict[str, Tensor]:
        """Every tensor that changes, by name, as it lies in memory."""
        parts = {"generator": self.generator, "average": self.average, "critic": self.critic}
        state = {
            f"{part}.{key}": tensor
            for part, module in parts.items()
            for key, tensor in module.state_dict().items()
            if not key.startswith(("eyes.", "across.", "down.", "narrow."))  # the same for the same seed
        }
        for who, optimiser in self._optimisers.items():
            for number, parameter in enumerate(p for group in optimiser.param_groups for p in group["params"]):
                held = optimiser.state[parameter]
                if not held:  # as Adam starts, so that there is something to load into
                    held |= {
                        "step": torch.tensor(0.0),
                        "exp_avg": torch.zeros_like(parameter),
                        "exp_avg_sq": torch.zeros_like(parameter),
                    }
                state |= {f"{who} optimiser.{number}.{key}": tensor for key, tensor in held.items()}
        return {key: tensor.detach() for key, tensor in state.items()}


def _mean(judged: list[Tensor]) -> Tensor:
    """Over all places, each critic with the same weight."""
    return torch.stack([of_one.mean() for of_one in judged]).mean()


def _smaller(x: Tensor, by: int) -> Tensor:
    return F.avg_pool2d(x, by) if by > 1 else x
