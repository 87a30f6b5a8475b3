"""The show: the frame, its pace, and the rooms that make it.

Thread: main. Owns: every mutable reference of the render process; the audio and control processes belong to their
parents' sides (`Ears`, `Hands`), the engine to `EngineHost`, the GL context to `Stage`.

Nothing escapes the frame: what goes wrong in it is announced once, and the next frame comes all the same.
"""

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from performer.audio.ears import Ears
from performer.audio.features import BANDS, column
from performer.audio.knobs import Knobs
from performer.cast import Cast
from performer.choreography.carrying import carried, sized, widened
from performer.choreography.plan import Plan
from performer.choreography.transport import Transport
from performer.clock import Clock
from performer.control.hands import Hands, HandsStatus, ShowState
from performer.edited import LATER, plan_of
from performer.engines.host import EngineHost
from performer.flow import AudioFeatures, ControlEvent, Frame, Image, LatentFrame, Params, Tick
from performer.governor import Governor
from performer.meter import FrameMeter, LightMeter
from performer.notices import Notices
from performer.pace import SWAP_MARGIN_S, Pace, Spent
from performer.params import Controls, reduce
from performer.reading import Asked
from performer.refusal import Refused
from performer.reloading import Reloads, Seen
from performer.role import Role, turn_of
from performer.setlist import Setlist
from performer.stage.compositor import Stage
from performer.stage.hud import HudMessage, HudState
from performer.stage.keys import StageAction, events_of
from performer.stage.outputs.output import Display, Output
from performer.triggers import presses_of

# What two cores hold at 1280x720 with every image new (docs/performance.md), and what slower ones are eased to.
SOFTWARE_FPS = (40.0, 36.0, 32.0, 30.0)
UNKNOWN_REFRESH_FPS = 60.0
REPORT_S = 0.2  # how often figures are renewed and rooms asked how they are: nobody reads faster
CLIP_SHOWN_S = 2.0
DRIVEN_SHOWN_S = 1.0


class Show:
    """A setlist on its way to a display."""

    def __init__(
        self,
        setlist: Setlist,
        *,
        display: Display,
        cast: Cast,
        ears: Ears,
        hands: Hands,
        clock: Clock,
        notices: Notices,
        outputs: Sequence[Output] = (),
        fps: float | None = None,
        first_cue: int = 0,
        wall_s: Callable[[], float] = time.time,
    ) -> None:
        self.setlist = setlist
        self.table = setlist.table
        self.plan = setlist.plan()
        self.display = display
        self.stage = Stage(display, table=self.table, effects=setlist.shaders, mixes=setlist.mixes)
        self.cast = cast
        self.ears = ears
        self.hands = hands
        self.clock = clock
        self._wall_s = wall_s
        self.notices = notices
        self.outputs = list(outputs)
        self._left_out: list[Output] = []  # those that failed
        self.meter = FrameMeter()
        self.light = LightMeter()
        self.is_hud_shown = False
        self.is_ending = False
        self._is_frozen = False  # whether what was loaded is out of the garbage collector's way
        self.frame_intervals_s: list[float] | None = None  # a benchmark puts a list here to keep every interval
        self._paced_by_display = display.refresh_hz is not None
        self._pace = Pace(fps=wanted_fps(display, fps), clock=clock, refresh_hz=display.refresh_hz)
        is_free = not (fps or display.refresh_hz) and display.is_software
        self._governor = Governor(
            paces=SOFTWARE_FPS if is_free else (1.0 / self._pace.slot_s,), details=self.stage.details
        )
        self._tier = self._governor.tier
        self._missed = 0  # slots that were missed before the newest frame
        self._is_due = False  # whether the newest frame has a latent of its own
        self._seen_image: tuple[EngineHost, int] | None = None
        self._infer, self._draw = Spent(0.010), Spent(0.008)
        self._controls = Controls.none(self.table)
        bpm = float(self.plan.cues[first_cue].values[self.table.row("transport.bpm")])
        self._transport = Transport.at_bpm(bpm)
        self._bpm_row = self.table.row("transport.bpm")
        self._follow_row, self._latency_row = self.table.row("transport.ear"), self.table.row("out.latency")
        self._clock_row = self.table.row("transport.clock")
        self._knobs = Knobs(self.table, [voice.name for voice in setlist.voices])
        self._led: list[ControlEvent] = []  # the tempo that taps or the ear made, for the next frame
        self._memory = self.plan.enter(first_cue, at_s=clock.now_s(), beat=self._transport.line.at(clock.now_s()))
        values = self.plan.cues[first_cue].values
        self._params = Params(values, knobs=values)
        first = self.plan.cues[first_cue].creature
        self._on_stage = (first, first)  # the creature that is seen, and the one that fades over it where there is one
        self._part = 0.0  # how much of that is seen
        self._frame = 0
        self._choreography_ms = 0.0
        self._photon_s = clock.now_s()
        self._hud = HudState()
        self._hud_due_s = 0.0
        self._presented_s = clock.now_s()
        self._warnings_said = 0
        self._watch_due_s = 0.0
        self._ears_state = "starting"
        self._notice = ""  # the newest that was said
        self._p99_ms = 0.0
        self._clipped = 0
        self._clipped_s = float("-inf")
        self._reloads: Reloads | None = None
        self._reloads_asked = 0  # what hands were known to have asked for
        self._stays = ""  # id of a cue that plays on though an edit has taken it out

    @property
    def cue(self) -> int:
        """Index of the cue that plays."""
        return self._memory.place.index

    @property
    def params(self) -> Params:
        """Every parameter's value in the newest frame."""
        return self._params

    @property
    def fps(self) -> float:
        """Frames a second that the show aims at."""
        return self._pace.fps

    @property
    def missed(self) -> int:
        """Display slots that no frame came for."""
        return self._pace.missed

    @property
    def host(self) -> EngineHost:
        """The engine whose picture is seen."""
        return self._role.seen

    @property
    def has_light(self) -> bool:
        """Whether there is a picture to be seen."""
        return self._role.latest() is not None

    @property
    def images(self) -> int:
        """Pictures finished by all engines since the show began."""
        return self.cast.images

    def run(self, *, seconds: float | None = None) -> None:
        """Play until somebody ends it, or for so many seconds."""
        until_s = None if seconds is None else self.clock.now_s() + seconds
        if not self._is_frozen:
            gc.collect()  # with PyTorch in the process, 0.4 s
            gc.freeze()  # what was loaded stays loaded: later collections need not walk it
            self._is_frozen = True
        while not (self.is_ending or self.display.should_close):
            if until_s is not None and self.clock.now_s() >= until_s:
                break
            self.frame()

    def frame(self) -> Frame:
        """One frame, from sound to light."""
        self._renew()
        draw_s = self._next_draw_s()
        self.clock.sleep_until(draw_s - self._infer.typical_s)

        image, over, params, tick = self._images_and_params(draw_s)
        hud = self._hud_state() if self.is_hud_shown else None
        sound = self.ears.latest() if self.stage.hears else None  # as late as can be: it is drawn at once
        frame = self.stage.show(
            image, params, tick, hud=hud, over=over, part=self._part, who=self._on_stage, sound=sound
        )
        self._presented_s = self.clock.now_s()

        if self._paced_by_display:
            self._pace.presented(at_s=self._presented_s)
            drawn_s = max(frame.spent_ms["stage"], self.stage.card_ms) / 1e3
        else:
            drawn_s = sum_of(frame) / 1e3
        self._draw.took(drawn_s)
        interval_s = self.meter.displayed(at_s=self._presented_s, images=self.images)
        if interval_s is not None and self.frame_intervals_s is not None:
            self.frame_intervals_s.append(interval_s)
        self.light.shown(over if self._part >= 1.0 else image, at_s=self._presented_s)
        frame.spent_ms["choreography"] = self._choreography_ms
        frame.spent_ms["engine"] = self.host.infer_ms
        self._hand_out(frame)
        self._govern(over if self._part >= 1.0 else image, drawn_s=drawn_s)
        self._watch()
        return frame

    def _hand_out(self, frame: Frame) -> None:
        """Give the frame to the outputs. One that fails gets no other: it would fail again, and cost as much each time."""
        for output in tuple(self.outputs):
            try:
                output.put(frame)
            except Exception as error:
                self.outputs.remove(output)
                self._left_out.append(output)  # closed at the end: that may take longer than a frame has
                text = f"{_name(output)} failed and is left out: {error!r}"
                self.notices.say(text, at_s=self._presented_s, severe=True)

    def _images_and_params(self, draw_s: float) -> tuple[Image | None, Image | None, Params, Tick]:
        """What there is to draw at `draw_s`, of the species and of a stranger: the frame read aloud."""
        begun_s = self.clock.now_s()
        keys, actions = events_of(
            self.display.poll(), controls=self._controls, table=self.table, at_s=self.clock.now_s()
        )
        self._act(actions)
        hands = [*self.hands.drain(), *keys]
        if any(each.param == "transport.bpm" for each in hands):  # a hand on the tempo takes it from ear and clock
            for led in ("transport.ear", "transport.clock"):
                hands.append(ControlEvent(param=led, value=0.0, at_s=begun_s, source="tempo by hand"))
        self._controls = reduce(self._controls, [*self._led, *hands], table=self.table)  # what people did
        features, hits = self.ears.latest(), self.ears.drain()  # what the room sounds like
        tick = self._tick(draw_s, features)
        self._is_due = False
        try:
            self._memory, self._params, latent = self.plan.step(
                self._memory,
                features,
                hits,
                self._controls,
                tick,
                edits=self.hands.edits(),
                absent=self.cast.absent,
            )
            self.light.heard(hits, submitted_s=self.clock.now_s())
            self._submit(latent)  # never waits
            self.hands.publish(self._state(tick))
        except Exception as error:  # the creature holds still for a frame; the show goes on
            self.notices.say(f"a frame's choreography failed: {error!r}", at_s=self.clock.now_s(), severe=True)
        self._choreography_ms = (self.clock.now_s() - begun_s) * 1e3
        self.clock.sleep_until(draw_s)
        first, second = self._on_stage  # who is asked twice may give up the picture that it gave first
        image = self.cast.roles[first].latest()
        over = self.cast.roles[second].latest() if second != first else None
        awaited = over if self._part >= 1.0 else image
        if awaited is not None:
            self._infer.took(min(awaited.ready_s - awaited.submitted_s, self._pace.period_s) + 0.002)
        return image, over, self._params, tick

    def _submit(self, latent: LatentFrame) -> None:
        """Hand latents to the engines whose pictures are seen, in the frames that have one of their own."""
        partner = latent.partner
        on_stage = latent.creature, partner.creature if partner is not None else latent.creature
        for number in {*self._on_stage} - {*on_stage}:
            self.cast.roles[number].rest()
        self._on_stage, self._part = on_stage, latent.part if partner is not None else 0.0
        self._is_due = self._frame % self._tier.every == 0
        if not self._is_due:
            return
        if self._part < 1.0:
            self._draw_by(latent)
        if partner is not None:
            self._draw_by(partner)

    def _draw_by(self, latent: LatentFrame) -> None:
        latent = turn_of(latent, self._frame // self._tier.every)
        self.cast.roles[latent.creature].submit(latent, small=self._tier.small, at_s=self.clock.now_s())

    @property
    def _role(self) -> Role:
        """The one whose picture is seen most."""
        return self.cast.roles[self._on_stage[self._part >= 0.5]]

    def _govern(self, image: Image | None, *, drawn_s: float) -> None:
        """Give up, or take up again, what the machine cannot or can hold."""
        seen_image = (self.host, image.serial) if image is not None else None
        is_new, self._seen_image = seen_image is not None and seen_image != self._seen_image, seen_image
        missed, self._missed = self._pace.missed - self._missed, self._pace.missed
        change = self._governor.frame(
            at_s=self._presented_s,
            missed=missed,
            draw_s=drawn_s,
            infer_s=self.host.infer_ms / 1e3,
            is_due=self._is_due,
            is_new=is_new,
            shrinks=self._role.small is not None,
        )
        if change is None:
            return
        before, self._tier = self._tier, change.tier
        self.stage.detail = self._tier.detail
        if self._tier.fps != before.fps:
            self._pace.change(self._tier.fps)
        self.notices.say(change.text, at_s=self._presented_s)

    def _next_draw_s(self) -> float:
        if self._paced_by_display:  # the swap waits for the display: draw as late as is safe before it
            return self._presented_s + max(self._pace.period_s - self._draw.typical_s - SWAP_MARGIN_S, 0.0)
        return self._pace.next_draw_s()

    def _tick(self, draw_s: float, features: AudioFeatures) -> Tick:
        values = self._params.values
        photon_s = draw_s + self._draw.typical_s + float(values[self._latency_row])
        before, asked_bpm = self._transport, float(values[self._bpm_row])
        self._transport = now = before.step(
            self._controls.presses,
            bpm=asked_bpm,
            at_s=photon_s,
            heard=features,
            follow=values[self._follow_row] > 0,
            pulses=[
                pulse
                for pulse in self.hands.pulses(now_s=self.clock.now_s())
                if pulse.source == "link" or values[self._clock_row] > 0
            ],
        )
        self._led = []
        bpm = now.told_since(before, asked_bpm=asked_bpm)
        if bpm is not None:
            self._led.append(ControlEvent(param="transport.bpm", value=bpm, at_s=photon_s, source="tempo"))
            self._transport = replace(now, asked_bpm=self.table.params[self._bpm_row].admit(bpm))
        self.ears.tune(self._knobs.tuning(values, self._controls.presses, tapped_bpm=now.taps.bpm))
        tick = Tick(
            frame=self._frame,
            photon_s=photon_s,
            dt_s=photon_s - self._photon_s,
            beat=self._transport.line.at(photon_s),
            deadline_s=draw_s,
            downbeat=self._transport.downbeat,
            wall_s=self._wall_s()
            + photon_s
            - self.clock.now_s(),  # read anew each time: a wall clock is set, and leaps
        )
        self._frame += 1
        self._photon_s = photon_s
        return tick

    def _act(self, actions: Sequence[StageAction]) -> None:
        for action in actions:
            if action is StageAction.HUD:
                self.is_hud_shown = not self.is_hud_shown

    def _watch(self) -> None:
        """Announce what the rooms report."""
        now_s = self.clock.now_s()
        if now_s < self._watch_due_s:
            return
        self._watch_due_s = now_s + REPORT_S
        self._want()
        self._p99_ms = self.meter.p99_ms
        said = max(self.notices.recent(at_s=now_s), key=lambda notice: notice.at_s, default=None)
        self._notice = said.text if said is not None else self._notice
        warnings = self.stage.warnings
        for text in warnings[self._warnings_said :]:
            self.notices.say(text, at_s=now_s)
        self._warnings_said = len(warnings)
        for text in self.hands.news():
            self.notices.say(text, at_s=now_s, severe=True)
        self._listen_for_reloads()
        ears = self.ears.status()
        if ears.state != self._ears_state:
            if "lost" in (ears.state, self._ears_state):
                self.notices.say(f"sound: {ears.detail}", at_s=now_s, severe=ears.state == "lost")
            self._ears_state = ears.state
        if ears.clipped != self._clipped:
            self._clipped, self._clipped_s = ears.clipped, now_s

    def _want(self) -> None:
        """Have those made ready who may come."""
        cues, memory = self.plan.cues, self._memory
        needed = [memory.current, memory.previous, memory.place.waiting]
        self.cast.want(
            [cues[index].creature for index in self.plan.score.soon(memory.place)],
            needed=[*self._on_stage, *(cues[each.index].creature for each in needed if each is not None)],
        )

    def _state(self, tick: Tick) -> ShowState:
        """What control surfaces are told."""
        place = self._memory.place
        standby, waiting = self.plan.score.standby(place), place.waiting
        return ShowState(
            values=self._params.knobs,
            meters=self._params.meters,
            cue=self.cue,
            begun=place.count,
            preset=self._memory.preset,
            standby=-1 if standby is None else standby,
            waiting=-1 if waiting is None else waiting.index,
            wait_beats=0.0 if waiting is None else max(waiting.beat - tick.beat, 0.0),
            disarmed=self.plan.score.disarmed(place),
            absent=self._absent_cues(),
            state=self._state_word(),
            beat=tick.beat,
            bpm=self._transport.bpm,
            fps=self.meter.fps,
            frame_p99_ms=self._p99_ms,
            latency_ms=self.light.median_ms or 0.0,
            leader=self._transport.leader,
            engine=self.host.name,
            notice=self._notice,
        )

    def _next_text(self, names: Sequence[str], standby: int | None) -> str:
        """The cue that GO starts, or the one that waits and how long."""
        waiting = self._memory.place.waiting
        if waiting is not None:
            beats = max(waiting.beat - self._transport.line.at(self.clock.now_s()), 0.0)
            if waiting.is_late:
                return f"{names[waiting.index]}  not ready"
            return f"{names[waiting.index]}  in {beats:.0f} beats"
        if standby is None:
            return ""
        return f"{names[standby]}  not ready" if standby in self._absent_cues() else names[standby]

    def _absent_cues(self) -> list[int]:
        """The cues whose species are not ready."""
        absent = self.cast.absent
        return [index for index, cue in enumerate(self.plan.score.cues) if cue.creature in absent] if absent else []

    def _state_word(self) -> str:
        """What the audience sees of the show, in a word."""
        values = self._params.values
        for word in ("blackout", "freeze"):
            if values[self.table.row(f"out.{word}")] > 0:
                return word
        return "panic" if self._memory.place.is_panicked else "playing"

    def _hud_state(self) -> HudState:
        """The figures of the overlay."""
        now_s = self.clock.now_s()
        if now_s < self._hud_due_s:
            return self._hud
        self._hud_due_s = now_s + REPORT_S
        features, ears, hands = self.ears.latest(), self.ears.status(), self.hands.status()
        cues, cue, seen, standby = self.plan.cues, self.cue, self.host, self.plan.score.standby(self._memory.place)
        names = [f"{each.id}  {each.name}".strip() for each in cues]
        self._hud = HudState(
            fps_displayed=self.meter.fps,
            fps_generated=self.meter.images_per_s,
            effects_eased=f"effects {self._tier.detail:.0%}" if self._tier.detail < 1.0 else "",
            generator_eased="every 2nd" if self._tier.every > 1 else "",
            frame_p99_ms=self.meter.p99_ms,
            missed_frames=self._pace.missed,
            sound_to_light_ms=self.light.median_ms,
            sound_to_ear_ms=ears.latency_s * 1e3,
            voices=tuple(
                (
                    voice.name,
                    tuple(
                        (band, float(row[column(f"{band}.level")]), float(row[column(f"{band}.hit")]))
                        for band in BAND_NAMES
                    ),
                )
                for voice, row in zip(self.setlist.voices, features.values, strict=True)
            ),
            clip=now_s - self._clipped_s < CLIP_SHOWN_S,
            audio="learning how hard you play" if ears.is_learning else ears.detail,
            audio_lost=ears.state == "lost",
            engine=f"{seen.name}, half size" if seen is self._role.small else f"{seen.name}, {seen.infer_ms:.1f} ms",
            osc_per_s=hands.messages_per_s,
            osc_refused=hands.refused,
            osc_unknown=hands.unknown,
            live=hands.live,
            driver=hands.driver,
            is_driven=bool(hands.driver) and self.clock.now_s() - hands.driven_s < DRIVEN_SHOWN_S,
            cue_now=names[cue],
            cue_next=self._next_text(names, standby),
            beat=self._transport.line.at(now_s) - self._transport.downbeat,
            bpm=self._transport.bpm,
            lead=_leader(self._transport.leader, features, hands),
            messages=tuple(
                HudMessage(text=notice.text, count=notice.count, severe=notice.severe)
                for notice in self.notices.recent(at_s=now_s)
            ),
            spent_ms=dict(self.stage.spent_ms) | {"engine": seen.infer_ms},
        )
        return self._hud

    # The setlist, edited while it plays

    def follow(self, asked: Asked, *, seen: Seen, watches: bool) -> None:
        """Take over what is edited in the files of the setlist from now on. seen: the files as it was read from them."""
        self._reloads = Reloads(self.setlist, self.plan, asked=asked, seen=seen, watches=watches)

    def _listen_for_reloads(self) -> None:
        """What hands have to do with the setlist's file."""
        if self._reloads is None:
            return
        status = self.hands.status()
        if status.reloads != self._reloads_asked:
            self._reloads_asked = status.reloads
            self._reloads.ask()
        self._reloads.hear(status.saved)

    def _renew(self) -> None:
        """Take over an edited setlist that is ready, or say why it is not taken."""
        edition = self._reloads.ready() if self._reloads is not None else None
        if edition is None:
            if self._stays and self.plan.score.cues[self.cue].id != self._stays:  # another one plays: now it can go
                self._stays = ""
                self._take(self.setlist, plan_of(self.setlist, anatomies=self.plan.anatomies))
            return
        problems, name = edition.problems, self.setlist.path.name
        if edition.setlist is not None and edition.plan is not None:
            try:
                self._take(edition.setlist, edition.plan)
                edition.is_taken = True
                self.notices.say(f"{name} is taken as it is now", at_s=self.clock.now_s())
            except Refused as error:
                problems = [str(error)]
            except Exception as error:  # whatever it is, the show goes on with what it has
                problems = [f"{name}: {error!r}"]
        edition.settled.set()
        for problem in problems:
            self.notices.say(f"the edit is not taken: {problem}", at_s=self.clock.now_s(), severe=True)
        if problems:
            self.hands.refuse("\n".join(problems))

    def _take(self, setlist: Setlist, plan: Plan) -> None:
        """Go on with another setlist in the same rows, where this one is. Raises Refused where it is too large."""
        if not self.hands.has_room(setlist.table, cues=len(setlist.cues) + 1):
            raise Refused(f"{setlist.path}: has many more cues or routes than it had; that {LATER}")
        edits = self.hands.holding(setlist.routes, setlist.sources)
        memory = carried(self._memory, self.plan, plan, edits=edits, at_s=self._photon_s)
        table, cues, defaults = setlist.table, plan.score.cues, setlist.table.defaults()
        controls = replace(
            self._controls,
            values=widened(self._controls.values, defaults),
            set_s=sized(self._controls.set_s, len(table), -np.inf),
        )
        more = len(plan.route_names) - len(self._params.meters)
        params = replace(
            self._params,
            values=widened(self._params.values, defaults),
            knobs=widened(self._params.knobs, defaults),
            meters=np.pad(self._params.meters, ((0, more), (0, 0))),
        )
        triggers = presses_of(cues)
        for creature in setlist.creatures[len(self.cast.creatures) :]:
            self.cast.add(creature)
        pair = {0, 1} if setlist.stranger else set[int]()
        self.cast.retire({*range(len(setlist.creatures))} - {cue.creature for cue in cues} - pair)
        self.hands.take(
            table=table,
            name=f"performer: {setlist.name}",
            binds=setlist.binds,
            triggers=triggers,
            silence_s=setlist.silence_s,
            cues=[(cue.id, cue.name) for cue in cues],
            cue_notes=[cue.notes for cue in cues],
            cue_values=np.stack([cue.values for cue in cues]),
            routes=setlist.routes,
            sources=setlist.sources,
            presets=setlist.presets,
            live=setlist.live,
        )
        self.setlist, self.table, self.plan = setlist, table, plan
        self._memory, self._controls, self._params = memory, controls, params
        self._stays = next((cue.id for cue in cues if all(cue.id != each.id for each in setlist.cues)), "")

    def close(self) -> None:
        """End the show: outputs first, so that what they took is finished; the display last."""
        if self._reloads is not None:
            self._reloads.close()
        for output in (*self.outputs, *self._left_out):
            try:
                output.close()
            except Exception as error:  # the others have something to finish too
                text = f"{_name(output)} was not closed: {error!r}"
                self.notices.say(text, at_s=self.clock.now_s(), severe=True)
        self.hands.close()
        self.ears.close()
        self.cast.close()
        self.stage.close()
        self.display.close()
        if self._is_frozen:
            gc.unfreeze()


BAND_NAMES = tuple(name for name, _, _ in BANDS)


def _name(output: Output) -> str:
    """What people call an output: StillWriter is `the still writer`."""
    return "the " + "".join(f" {c.lower()}" if c.isupper() else c for c in type(output).__name__.strip("_")).strip()


def _leader(leader: str, features: AudioFeatures, hands: HandsStatus) -> str:
    """Who leads the tempo, in few words."""
    match leader:
        case "ear":
            return f"ear {features.confidence:.0%}"
        case "link":
            return f"Link, {hands.peers} other{'s' if hands.peers != 1 else ''}"
    return leader


def wanted_fps(display: Display, asked: float | None) -> float:
    """Frames a second that a show on `display` aims at to begin with: what was asked for, else what suits it."""
    return asked or display.refresh_hz or (SOFTWARE_FPS[0] if display.is_software else UNKNOWN_REFRESH_FPS)


def sum_of(frame: Frame) -> float:
    """Milliseconds from the first GL call to the presented frame."""
    return frame.spent_ms["stage"] + frame.spent_ms["display"]
