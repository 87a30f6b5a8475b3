"""The stage: effects, the frame, the figures and the displays. The only GL calls of the program, on the main thread."""
