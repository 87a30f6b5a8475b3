"""The room behind `performer bridge`: finds where two species look most alike. Never imported by play.

`drawing` draws a species, `descriptors` says what a picture looks like, `sampling` looks at thousands, `pairing` finds the
pairs, `refining` brings them nearer still, `sheet` shows them, and `making` is the whole way. What is found is a
`performer.bridges.Bridge`.
"""
