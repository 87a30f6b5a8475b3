"""What crosses between the show and the control process, as numpy records.

Thread: any.
"""

import socket
import struct

import numpy as np

PRESS = np.dtype([("row", "i4"), ("source", "i4"), ("at_s", "f8"), ("text", "S64"), ("trigger", "S8")])

SAVED = 4  # so many times a setlist may be saved between two looks of the show at what was

STATUS = np.dtype(
    [
        ("heartbeat_s", "f8"),
        ("received", "i8"),  # messages, strangers and refused ones included
        ("refused", "i8"),  # unreadable datagrams and values that do not fit
        ("unknown", "i8"),  # messages to addresses that nobody has
        ("held", "i8"),  # values of sources that do not lead
        ("messages_per_s", "f8"),
        ("subscribers", "i4"),
        ("buffer_bytes", "i4"),  # what the system granted for datagrams that wait
        ("refusal", "S120"),  # the newest
        ("driver", "S120"),  # who moved a parameter last, and which
        ("driven_s", "f8"),  # when
        ("live", "S80"),  # how it stands with Ableton Live
        ("midi", "S120"),  # the inputs that are open, or why there are none
        ("reloads", "i4"),  # how often somebody has asked for the setlist to be read again
        ("saved", f"S{65 * SAVED}"),  # sha256 of the setlist before it was saved, and after each time, in hexadecimal
    ]
)


# What an edited setlist may bring to a show that plays, beyond what it had before doors.
ROOM_PARAMS, ROOM_ROUTES, ROOM_CUES = 256, 64, 128

PULSES = ("link", "midi", "osc")  # clocks from outside, the one that counts most first
TEMPO = np.dtype(
    [("is_there", "u1"), ("has_phase", "u1"), ("downbeat", "i4"), ("bpm", "f8"), ("beat", "f8"), ("at_s", "f8")]
)
TEMPI = np.dtype([("pulses", TEMPO, (len(PULSES),)), ("peers", "i4"), ("at_s", "f8")])

PREVIEW_PX = 320  # the longer side of a picture for the panel, at most
PICTURE = np.dtype(
    [
        ("serial", "i8"),  # the frame's number
        ("at_s", "f8"),  # when it was shown
        ("width_px", "i4"),
        ("height_px", "i4"),
        ("pixels", "u1", (PREVIEW_PX, PREVIEW_PX, 4)),  # its upper left: sRGB, top row first; the fourth is nothing
    ]
)
WATCHED = np.dtype([("at_s", "f8")])  # when somebody last asked for such a picture

EDIT = np.dtype([("text", "S2048")])  # (name, route or null) as JSON
BIND = np.dtype([("text", "S512")])  # (foreign address, what it sets or null) as JSON


def preset_edit(params: int) -> np.dtype:
    """A preset that a hand saved; one that names nothing was removed."""
    return np.dtype([("name", "S64"), ("named", "u1", (params,)), ("values", "f4", (params,))])


def show_state(params: int, routes: int, cues: int) -> np.dtype:
    """What the show tells the control process each frame."""
    return np.dtype(
        [
            ("values", "f4", (params,)),
            ("meters", "f4", (routes, 2)),
            ("disarmed", "u1", (cues,)),  # 1 where a cue takes no part
            ("absent", "u1", (cues,)),  # 1 where a cue's species is not ready
            ("edition", "i4"),  # how often the setlist was taken anew: indices are those of that one
            ("cue", "i4"),
            ("begun", "i8"),  # cues that have begun before it
            ("preset", "i4"),  # number of the one that was glided to last; 0 for none
            ("standby", "i4"),  # -1 for none
            ("waiting", "i4"),  # -1 for none
            ("wait_beats", "f8"),
            ("beat", "f8"),
            ("bpm", "f8"),
            ("fps", "f8"),
            ("frame_p99_ms", "f8"),
            ("latency_ms", "f8"),
            ("leader", "S16"),
            ("engine", "S48"),
            ("state", "S16"),
            ("notice", "S200"),
        ]
    )


def packed_address(host: str) -> int:
    """An IPv4 address in the 32 bits of a source id; 0 for anything else."""
    try:
        return struct.unpack("=i", socket.inet_aton(host))[0]
    except OSError:
        return 0


def address_text(packed: int) -> str:
    """The inverse of `packed_address`."""
    return socket.inet_ntoa(struct.pack("=i", packed))
