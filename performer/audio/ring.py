"""The ring between the sound card's callback and the analysis.

Thread: `write` belongs to the callback, `read` to the analysis; one of each.
Owns: its memory, allocated once. Real-time: `write` copies a slice, counts and ORs flags; no lock, no log, no growth.
"""

import numpy as np

from performer.flow import F32, AudioBlock, CaptureFlags

CLIP_AT = 0.9999  # of full scale: 16 bit converters stop one step below 1


class CaptureRing:
    """Captured samples in order. A reader that is too slow loses the oldest, and is told so."""

    def __init__(self, *, channels: int, capacity_samples: int, capacity_blocks: int = 1024) -> None:
        self.channels = channels
        self.capacity_samples = capacity_samples
        self.overruns = 0  # times the reader was too slow; written by the reader
        self.clipped = 0  # blocks that reached full scale; written by the callback
        self.lost_by_driver = 0  # times the driver reported lost samples; written by the callback
        self._samples = np.zeros((capacity_samples, channels), np.float32)
        self._first = np.zeros(capacity_blocks, np.int64)  # of each block: number of its first sample
        self._length = np.zeros(capacity_blocks, np.int64)
        self._adc_s = np.zeros(capacity_blocks)
        self._flags = np.zeros(capacity_blocks, np.int64)
        self._written_samples = 0
        self._written_blocks = 0  # raised last: a block is visible only when it is whole
        self._read_blocks = 0
        self._next_sample = 0

    @property
    def blocks(self) -> int:
        """How many blocks the callback has written."""
        return self._written_blocks

    def write(
        self,
        samples: F32,  # [n, channels], n <= capacity
        adc_s: float,  # show time of samples[0]
        flags: int = 0,  # CaptureFlags as an int: building the enum costs a microsecond
    ) -> None:
        """Append one block. Callback only."""
        count = len(samples)
        if count > self.capacity_samples:  # cannot happen with any real driver; the newest are worth most
            samples = samples[-self.capacity_samples :]
            count = self.capacity_samples
            flags |= int(CaptureFlags.GAP)
        if flags & 1:
            self.lost_by_driver += 1
        if count and (samples.max() >= CLIP_AT or samples.min() <= -CLIP_AT):
            flags |= int(CaptureFlags.CLIP)
            self.clipped += 1
        at = self._written_samples % self.capacity_samples
        head = min(count, self.capacity_samples - at)
        self._samples[at : at + head] = samples[:head]
        if head < count:
            self._samples[: count - head] = samples[head:]
        slot = self._written_blocks % len(self._first)
        self._first[slot] = self._written_samples
        self._length[slot] = count
        self._adc_s[slot] = adc_s
        self._flags[slot] = flags
        self._written_samples += count
        self._written_blocks += 1

    def read(self, *, up_to_s: float = np.inf) -> AudioBlock | None:
        """All whole blocks that have arrived, as one; None where there is none. Analysis only.

        up_to_s: blocks that begin after this show time stay where they are. A file that is being played is written
            before it is heard.
        """
        written = self._written_blocks
        begin = self._read_blocks
        if written == begin:
            return None
        flags = 0
        # A quarter is kept free for the block that the callback may be writing at this very moment.
        keep = self.capacity_samples - self.capacity_samples // 4
        keep_blocks = len(self._first) * 3 // 4
        first_kept = max(begin, written - keep_blocks)
        newest = (written - 1) % len(self._first)
        end_sample = int(self._first[newest] + self._length[newest])
        while end_sample - int(self._first[first_kept % len(self._first)]) > keep and first_kept < written - 1:
            first_kept += 1
        if first_kept > begin:
            begin = first_kept
            self.overruns += 1
            flags = int(CaptureFlags.GAP)
        end = begin
        while end < written and self._adc_s[end % len(self._first)] <= up_to_s:
            flags |= int(self._flags[end % len(self._first)])
            end += 1
        self._read_blocks = end
        if end == begin:
            return None
        first = int(self._first[begin % len(self._first)])
        last = (end - 1) % len(self._first)
        count = int(self._first[last] + self._length[last]) - first
        at = first % self.capacity_samples
        head = min(count, self.capacity_samples - at)
        samples = np.empty((count, self.channels), np.float32)
        samples[:head] = self._samples[at : at + head]
        samples[head:] = self._samples[: count - head]
        if self._written_samples - first > self.capacity_samples:  # overtaken while copying: the slice is torn
            self.overruns += 1
            return None
        adc_s = float(self._adc_s[begin % len(self._first)])
        if first != self._next_sample:
            flags |= int(CaptureFlags.GAP)
        self._next_sample = first + count
        return AudioBlock(samples, first, adc_s, CaptureFlags(flags))
