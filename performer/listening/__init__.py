"""The room behind `performer listen`: what is heard on a device, live in the terminal, and what is known of a track.

`live` shows the ears of a show at work (`tally` keeps its figures, `screen` draws them, `clicks` measures the way of the
sound); `track` listens to a whole file beforehand and beside it as in a show, and `picture` draws the two.
"""
